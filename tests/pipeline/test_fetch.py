"""The fetch stage over real HTTP and a real database: what it makes of a service that answers oddly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from tests.store.steps import Steps
from tests.system.small_aws import SmallAws, serving
from worker.aws.rekognition import GET
from worker.aws.session import Credentials, open_clients
from worker.config import Settings
from worker.flow.stop import Stop
from worker.lane import NEWS_KEPT, Lane
from worker.metrics import Metrics
from worker.model import Page
from worker.pipeline import fetch
from worker.pipeline.fetch import MOST_RESTARTS, STRANGE_ANSWERS, Fetcher
from worker.pipeline.write import Writer
from worker.store.database import Database, open_database
from worker.store.jobs import UsualTimes
from worker.store.leases import LaneHolder

SECONDS = 30
LABEL = {"Timestamp": 0, "ModerationLabel": {"Name": "Weapons", "ParentName": "", "Confidence": 90.0}}
Told = tuple[int, bytes]
"""Status and body of an answer."""


@pytest.fixture
async def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A migrated database; the stage tries again without losing time."""
    monkeypatch.setattr(fetch, "FIRST_PAUSE_SECONDS", 0.01)
    async with open_database(database_url, deployment="default", may_migrate=False, pool_size=4) as database:
        yield database


class OddAws(SmallAws):
    """Answers the n-th Get as `told` says, given the token that it came with."""

    def __init__(self, told: Callable[[int, str | None], Told]) -> None:
        super().__init__()
        self.gets = 0
        self._told = told

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        if not request.headers.get("X-Amz-Target", "").endswith(GET):
            return await super().answer(request)
        self.gets += 1
        status, body = self._told(self.gets, (await request.json()).get("NextToken"))
        return web.Response(body=body, status=status, content_type="application/x-amz-json-1.1")


def page(**members: Any) -> Told:
    """A page with a label."""
    return 200, json.dumps({"JobStatus": "SUCCEEDED", "ModerationLabels": [LABEL], **members}).encode()


def refusal(code: str, status: int = 400) -> Told:
    """An error."""
    return status, json.dumps({"__type": code, "message": "no"}).encode()


@asynccontextmanager
async def fetching(aws: OddAws, steps: Steps) -> AsyncIterator[int]:
    """The stages that fetch and write work on one ready job, whose id is given."""
    owner = await steps.own()
    (job_id,) = await steps.ready(owner, await steps.backfill(), ["a.mp4"])
    async with fetching_for(owner, aws, steps):
        yield job_id


@asynccontextmanager
async def fetching_for(owner: LaneHolder, aws: OddAws, steps: Steps) -> AsyncIterator[Lane]:
    """The stages that fetch and write work for the lane."""
    settings = Settings(lanes={"main": aws.lane(get_per_second=1000.0)}, worker={"lease_seconds": 300})
    async with open_clients(settings.lanes["main"], Credentials("AKIDEXAMPLE", "secret")) as clients:
        lane = Lane("main", settings, owner, [], clients, Metrics(), UsualTimes(None, None))
        lane.lease_renewed(anyio.current_time())
        stop = Stop()
        sender, receiver = anyio.create_memory_object_stream[Page](8)
        writer = Writer(steps.pages, steps.jobs, Metrics(), lane.reading.discard)
        async with anyio.create_task_group() as stages:
            stages.start_soon(writer.run, receiver)
            stages.start_soon(Fetcher(lane, steps.jobs, sender, stop).run)
            yield lane
            stop.request()


async def end_of(told: Callable[[int, str | None], Told], database: Database) -> tuple[str, str | None, int]:
    """(state, reason, number of Gets) of a job once it is settled."""
    steps = Steps(database)
    async with serving(OddAws(told)) as aws, fetching(aws, steps) as job_id:
        settled = await _end_of_job(steps, job_id)
    assert (await steps.reports.verify(None))[1] == []
    return *settled, aws.gets


async def _end_of_job(steps: Steps, job_id: int) -> tuple[str, str | None]:
    with anyio.fail_after(SECONDS):
        while not (settled := await _settled(steps, job_id)):
            await anyio.sleep(0.02)
    return settled


async def _settled(steps: Steps, job_id: int) -> tuple[str, str | None] | None:
    ((state, reason),) = await steps.rows("select state, reason from job where id = $1", job_id)
    return (state, reason) if state in ("done", "failed", "expired") else None


@pytest.mark.parametrize(
    "passing",
    [(200, b"{"), (200, b'{"JobTag": "\xff"}'), refusal("LimitExceededException"), refusal("Odd", 500), (404, b"")],
)
async def test_odd_answer_that_passes_costs_a_moment(database: Database, passing: Told):
    """What was cut short, refused or not understood is asked for again, and the job is done."""
    assert await end_of(lambda n, _: passing if n <= 2 else page(), database) == ("done", None, 3)


@pytest.mark.parametrize(
    ("lasting", "reason"),
    [
        ((200, b"{"), "Input data was truncated"),
        ((200, b'{"JobTag": "\xff"}'), "'utf-8' codec can't decode byte"),
        ((200, b'{"JobStatus": "SUCCEEDED", "ModerationLabels": [NaN]}'), "JSON is malformed"),
        (refusal("IdempotentParameterMismatchException"), "no"),
    ],
)
async def test_odd_answer_that_lasts_ends_the_job(database: Database, lasting: Told, reason: str):
    """After a few tries the job has failed, with what came kept aside."""
    state, said, gets = await end_of(lambda _, __: lasting, database)
    assert (state, gets) == ("failed", STRANGE_ANSWERS)
    assert (said or "").startswith(f"unreadable result: {reason}")
    kept = await Steps(database).rows("select number, body from page_aside")
    assert kept == ([(1, lasting[1])] if lasting[0] == 200 else [])


async def test_pages_without_end_end(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A job whose every page names another one is given up beyond any true number of pages."""
    monkeypatch.setattr(fetch, "MOST_PAGES", 20)
    state, reason, gets = await end_of(lambda n, _: page(NextToken=f"token-{n}"), database)
    assert (state, reason, gets) == ("failed", "unreadable result: it goes on after 20 pages", 21)


async def test_page_that_names_itself_ends(database: Database):
    """A token that leads to itself is followed once."""
    state, reason, gets = await end_of(lambda _, __: page(NextToken="the-same"), database)
    assert (state, reason, gets) == ("failed", "unreadable result: the page names itself as the next one", 2)


async def test_empty_token_is_the_last_page(database: Database):
    """An empty NextToken is none: asking with it would be asking for the first page again."""
    assert await end_of(lambda _, __: page(NextToken=""), database) == ("done", None, 1)


async def test_tokens_that_never_work_end(database: Database):
    """A job whose page tokens are refused again and again is read anew a few times only."""
    invalid = refusal("InvalidPaginationTokenException")
    state, reason, gets = await end_of(lambda _, token: invalid if token else page(NextToken="t"), database)
    assert (state, reason) == ("failed", "unreadable result: no")
    assert gets == 2 * (MOST_RESTARTS + 1)


async def test_status_message_of_megabytes_is_cut(database: Database):
    """A job that FAILED is told in a few words, whatever Rekognition says."""
    said = json.dumps({"JobStatus": "FAILED", "StatusMessage": "a\0b" * 1_000_000}).encode()
    steps = Steps(database)
    async with serving(OddAws(lambda _, __: (200, said))) as aws, fetching(aws, steps) as job_id:
        settled = await _end_of_job(steps, job_id)
    assert settled[0] == "failed"
    assert len(settled[1] or "") < 400


@pytest.mark.parametrize("others", [0, NEWS_KEPT])
async def test_job_that_is_told_of_is_read_at_once(database: Database, monkeypatch: pytest.MonkeyPatch, others: int):
    """Whoever hears that a job is finished says so, and it need not be looked for; unless there are too many."""
    monkeypatch.setattr(fetch, "LOOK_SECONDS", 1e9)
    steps = Steps(database)
    owner, backfill = await steps.own(), await steps.backfill()
    (first,) = await steps.ready(owner, backfill, ["first.mp4"])
    async with serving(OddAws(lambda _, __: page())) as aws, fetching_for(owner, aws, steps) as lane:
        await _end_of_job(steps, first)  # from now on it does not look by itself
        (told,) = await steps.ready(owner, backfill, ["told.mp4"])
        lane.pages_ready.add([told, *range(10**9, 10**9 + others)])
        assert await _end_of_job(steps, told) == ("done", None)


async def test_job_that_nobody_tells_of_is_found(database: Database, monkeypatch: pytest.MonkeyPatch):
    """What another process has made ready is found by looking now and then."""
    monkeypatch.setattr(fetch, "LOOK_SECONDS", 0.05)
    steps = Steps(database)
    owner, backfill = await steps.own(), await steps.backfill()
    (first,) = await steps.ready(owner, backfill, ["first.mp4"])
    async with serving(OddAws(lambda _, __: page())) as aws, fetching_for(owner, aws, steps):
        await _end_of_job(steps, first)
        (untold,) = await steps.ready(owner, backfill, ["untold.mp4"])
        assert await _end_of_job(steps, untold) == ("done", None)

"""Many Gets at once: what they ask for together is made once."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal

from tests.local.conftest import AT_ONCE, Service, finished, until
from tests.local.test_service_views import JOB
from worker.local.analysts.analysis import Analysis
from worker.local.faults.faults import Faults
from worker.local.moderation.page_tokens import PageTokens
from worker.local.moderation.reads import Reads
from worker.local.moderation.runner import Look
from worker.local.protocol.identity import Caller
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Ending, Job, NewJob

OWNER = Caller(JOB.account, JOB.region)


class Looks:
    """In place of the runners: counts the looks, each of which waits until it may go on."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.looked = 0
        self.may_go_on = Event()

    def look(self, _job: Job) -> Look:
        return self._seen

    def _seen(self) -> Analysis:
        self.looked += 1
        assert self.may_go_on.wait(20)
        if self.looked <= self.failures:
            raise OSError("the disk is gone")
        return Analysis(None, {"DurationMillis": 1000}, [])


async def reads_of(looks: Looks, path: Path) -> tuple[Database, Reads]:
    """What answers Gets of one finished job."""
    database = Database(path / "service.sqlite", speed=1)
    new = NewJob(*(getattr(JOB, name) for name in NewJob.__struct_fields__))
    await database.write(lambda connection: jobs.insert(connection, new))
    job = jobs.find(database.reader, JOB.job_id)
    ending = Ending(database.clock.now_ms(), None, 1.0)
    await database.write(lambda connection: jobs.finish(connection, job, ending))
    return database, Reads(database, looks, PageTokens(b"secret"), Faults(database.clock))


async def asked_by_ten(looks: Looks, path: Path) -> list[Any]:
    """The outcome of ten Gets at once; the first is cancelled while it waits."""
    database, reads = await reads_of(looks, path)
    outcomes: list[Any] = []
    first = anyio.CancelScope()

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            try:
                outcomes.append(await reads.get(OWNER, {"JobId": JOB.job_id}))
            except OSError as error:
                outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        for _ in range(9):
            tasks.start_soon(ask, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        looks.may_go_on.set()
    outcomes.append(await reads.get(OWNER, {"JobId": JOB.job_id}))
    await database.close()
    return outcomes


def test_one_look_serves_all_who_wait(portal: BlockingPortal, tmp_path: Path) -> None:
    """Ten Gets of one job look once, and the nine that stay are answered though the first is cancelled."""
    looks = Looks()
    outcomes = portal.call(asked_by_ten, looks, tmp_path)
    assert looks.looked == 1
    assert len(outcomes) == 10
    assert len(set(outcomes)) == 1


def test_a_failed_look_is_not_kept(portal: BlockingPortal, tmp_path: Path) -> None:
    """Those who waited for a look that fails are told so; the next Get looks anew."""
    looks = Looks(failures=1)
    *failed, answer = portal.call(asked_by_ten, looks, tmp_path)
    assert [type(error) for error in failed] == [OSError] * 9
    assert isinstance(answer, bytes)
    assert looks.looked == 2


def most_resident_mb(service: Service) -> float:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def test_many_gets_of_long_jobs_take_the_memory_of_two(new_service: Callable[..., Service]) -> None:
    """Gets of several jobs of 130,000 entries, many at once, keep the service below 400 MB and within reach."""
    service = new_service(**AT_ONCE).start()
    rekognition = service.client("rekognition", max_pool_connections=12)
    video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": "six-hours.mp4"}}
    job_ids = [rekognition.start_content_moderation(Video=video)["JobId"] for _ in range(2)]
    until(lambda: service.get_json("/_ledger?summary=1")["running"] == 0)
    with ThreadPoolExecutor(12) as asking:
        found = list(asking.map(lambda job_id: finished(rekognition, job_id), job_ids * 6))
    assert {len(page["ModerationLabels"]) for page in found} == {1000}
    assert most_resident_mb(service) < 400

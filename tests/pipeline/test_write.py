"""The write stage over a real database: order within a job, and a page that cannot be stored."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest

import anyio
import pytest
from msgspec import json

from tests.store.steps import Steps, page, seen
from worker.metrics import Metrics
from worker.model import Failure, Page
from worker.pipeline import write as write_stage
from worker.pipeline.write import PAGE_ROWS, Writer
from worker.store.database import Database
from worker.store.jobs import LONGEST_ASIDE_BYTES, Aside
from worker.store.pages import MOST_NEW_LABELS

JOBS, PAGES, LABELS = 7, 5, 3


async def ready_jobs(steps: Steps) -> list[int]:
    """The ids of jobs whose pages are to be written."""
    keys = [f"{number}.mp4" for number in range(JOBS)]
    return await steps.ready(await steps.own(), await steps.backfill(), keys)


async def write(steps: Steps, pages: list[Page]) -> list[int]:
    """Send pages through the stage, in this order; returns the jobs that it said were out of hand."""
    out_of_hand: list[int] = []
    writer = Writer(steps.pages, steps.jobs, Metrics(), out_of_hand.append)
    sender, receiver = anyio.create_memory_object_stream[Page]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run, receiver)
        async with sender:
            for item in pages:
                await sender.send(item)
    return out_of_hand


async def test_pages_of_jobs_read_side_by_side_are_all_accepted(database: Database):
    """No page overtakes an earlier one of its job: every job is settled with all its labels."""
    steps = Steps(database)
    job_ids = await ready_jobs(steps)
    pages = [
        page(job_id, number, detections=seen(LABELS), next_token="more" if number < PAGES else None)
        for number in range(1, PAGES + 1)
        for job_id in job_ids
    ]
    assert sorted(await write(steps, pages)) == job_ids
    assert await steps.rows("select id, state, detections from job order by id") == [
        (job_id, "done", PAGES * LABELS) for job_id in job_ids
    ]
    assert await steps.value("select count(*) from detection") == JOBS * PAGES * LABELS


@pytest.mark.parametrize(("rows", "least", "most"), [(12_000, 1, 10), (2 * (PAGE_ROWS + LABELS), 20, 42)])
async def test_group_holds_so_many_rows_and_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch, rows: int, least: int, most: int
):
    """Short pages are committed many at once; pages are held until as many rows are there as a group may have."""
    monkeypatch.setattr(write_stage, "ROWS_AT_ONCE", rows)
    steps = Steps(database)
    job_ids = await steps.ready(await steps.own(), await steps.backfill(), [f"{number}.mp4" for number in range(42)])
    await write(steps, [page(job_id, 1, detections=seen(LABELS)) for job_id in job_ids])
    assert await steps.value("select count(*) from detection") == 42 * LABELS
    assert least <= await steps.value("select count(distinct xmin::text) from detection") <= most


async def test_page_that_cannot_be_stored_fails_its_job_alone(database: Database):
    """The neighbours of its group are written; the job ends failed, with the reason."""
    steps = Steps(database)
    job_ids = await ready_jobs(steps)
    bad = job_ids[2]
    pages = [
        page(job_id, detections=seen(LABELS, names=["a\0b"] if job_id == bad else ["Weapons"])) for job_id in job_ids
    ]
    assert sorted(await write(steps, pages)) == job_ids
    for job_id, (state, reason, detections) in zip_longest(
        job_ids, await steps.rows("select state, reason, detections from job order by id")
    ):
        assert (state, detections) == (("failed", 0) if job_id == bad else ("done", LABELS))
        assert (reason or "").startswith("unreadable result") == (job_id == bad)


async def test_page_that_cannot_be_stored_is_kept_aside(database: Database):
    """The page itself, not its neighbours of the same job, is kept with the reason; what was paid for is spent."""
    steps = Steps(database)
    bad, good = (await ready_jobs(steps))[:2]
    pages = [
        page(bad, 1, detections=seen(LABELS), next_token="more", duration_ms=120_000),
        page(bad, 2, detections=seen(LABELS, names=["a\0b"]), next_token="more"),
        page(bad, 3, detections=seen(LABELS)),
        page(good, 1, detections=seen(LABELS)),
    ]
    assert set(await write(steps, pages)) == {bad, good}
    ((job_id, number, size_bytes, reason, body),) = await steps.rows(
        "select job_id, number, size_bytes, reason, body from page_aside"
    )
    assert (job_id, number, size_bytes) == (bad, 2, len(body))
    assert reason.startswith("unreadable result: ")
    assert json.decode(body)["detections"][0]["ModerationLabel"]["Name"] == "a\0b"
    assert await steps.rows("select state, cost_usd from job where id = $1", bad) == [("failed", Decimal("0.2"))]
    assert (await steps.reports.verify(None))[1] == []


async def test_pages_full_of_unknown_labels_do_not_fill_the_dictionary(database: Database):
    """The dictionary's numbers are few: a page that would take hundreds of them cannot be true."""
    steps = Steps(database)
    bad, good = (await ready_jobs(steps))[:2]
    names = [f"Label {number}" for number in range(MOST_NEW_LABELS + 1)]
    pages = [page(bad, detections=seen(len(names), names=names)), page(good, detections=seen(LABELS))]
    await write(steps, pages)
    assert await steps.value("select count(*) from label") == 2
    assert await steps.rows("select state from job where id = any($1) order by id", [bad, good]) == [
        ("failed",),
        ("done",),
    ]


async def test_pages_aside_are_bounded(database: Database):
    """Of a large page the beginning is kept, and of a lane's pages a thousand."""
    steps = Steps(database)
    first, second = (await ready_jobs(steps))[:2]
    large = Aside(1, b"x" * (LONGEST_ASIDE_BYTES + 1))
    await steps.jobs.fail(Failure(first, "failed", "why", "failed"), large)
    assert await steps.rows("select size_bytes, length(body) from page_aside") == [
        (LONGEST_ASIDE_BYTES + 1, LONGEST_ASIDE_BYTES)
    ]
    await steps.execute(
        "insert into page_aside (job_id, size_bytes, number, lane_id, reason, body)"
        " select -n, 0, 1, a.lane_id, 'why', '' from page_aside a, generate_series(1, 999) n"
    )
    await steps.jobs.fail(Failure(second, "failed", "why", "failed"), Aside(1, b"x"))
    assert await steps.value("select count(*) from page_aside") == 1_000
    assert await steps.value("select state from job where id = $1", second) == "failed"

"""The write stage over a real database: order within a job, and a page that cannot be stored."""

from __future__ import annotations

from itertools import zip_longest

import anyio

from tests.store.steps import Steps, page, seen
from worker.metrics import Metrics
from worker.model import Page
from worker.pipeline.write import Writer
from worker.store.database import Database

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

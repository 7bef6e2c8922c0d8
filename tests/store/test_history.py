"""What a plan is made from, as one look at the database tells it: settled jobs, running ones, videos that wait."""

from __future__ import annotations

import pytest

from tests.store.steps import SIZE_BYTES, Steps, page, seen
from worker.model import Backfill, Object
from worker.planning.census import Census
from worker.planning.experience import ENOUGH_JOBS, InFlight
from worker.planning.prediction import Queue, Shares
from worker.store.history import History, Past


async def look(steps: Steps, backfill: Backfill | None, *, priority: int = 0) -> Past:
    return await History(steps.database).past(backfill, ["main", "other"], priority=priority)


def keys(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}.mp4" for number in range(count)]


async def test_empty_database_has_taught_nothing(steps: Steps):
    """No experience, no shares, nobody waits."""
    past = await look(steps, None)
    assert past.experience is None
    assert (past.shares, past.in_flight, past.beside) == (Shares(), {}, {})
    assert past.waiting.censuses == {}


async def test_settled_jobs_teach(steps: Steps):
    """Minutes a gigabyte, labels and pages, and the seconds from the start until the end was heard of."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.ready(owner, backfill, keys(ENOUGH_JOBS))
    first = [page(job_id, detections=seen(40), next_token="more") for job_id in jobs]
    await steps.pages.write(first)
    await steps.pages.write([page(job_id, 2, detections=seen(5)) for job_id in jobs])
    await steps.execute("update job set started_at = ready_at - interval '90 seconds'")
    past = await look(steps, backfill)
    assert past.is_own
    assert past.experience is not None
    assert past.experience.jobs == ENOUGH_JOBS
    assert past.experience.minutes_per_gb.mean == pytest.approx(1e9 / SIZE_BYTES)
    assert past.experience.mean_seconds(1.0) == pytest.approx(90)
    assert past.experience.labels.mean == pytest.approx(45)
    assert past.experience.labels_a_page == pytest.approx(22.5)


async def test_jobs_of_other_backfills_teach_until_there_are_own_ones(steps: Steps):
    """One settled job of its own is too few; those of others say more."""
    owner = await steps.own()
    await steps.done(owner, await steps.backfill("earlier"), keys(ENOUGH_JOBS))
    backfill = await steps.backfill("new")
    await steps.done(owner, backfill, keys(1, "new-"))
    past = await look(steps, backfill)
    assert past.experience is not None
    assert (past.is_own, past.experience.jobs) == (False, ENOUGH_JOBS + 1)


async def test_jobs_in_flight_tell_their_age_and_what_was_read(steps: Steps):
    """A running job, one whose pages are being read, and another backfill's; intents are still to be started."""
    owner, backfill = await steps.own(), await steps.backfill()
    [job_id] = await steps.ready(owner, backfill, ["read.mp4"])
    await steps.pages.write([page(job_id, detections=seen(7), next_token="more")])
    await steps.running(owner, backfill, ["running.mp4"])
    await steps.running(owner, await steps.backfill("other"), ["others.mp4"])
    await steps.intents(owner, backfill, ["intent.mp4"])
    await steps.execute("update job set started_at = clock_timestamp() - interval '50 seconds' where state <> 'intent'")
    await steps.execute("update lane set worked_at = clock_timestamp() - interval '20 seconds'")
    past = await look(steps, backfill)
    jobs = sorted(past.in_flight["main"], key=lambda job: (job.is_ready, job.is_own))
    assert [(job.is_own, job.is_ready, job.labels_read, job.pages_read) for job in jobs] == [
        (False, False, 0, 0),
        (True, False, 0, 0),
        (True, True, 7, 1),
    ]
    assert [job.duration_ms for job in jobs] == [None, None, 60_000]
    assert all(50 <= job.age_seconds < 80 for job in jobs)
    assert all(30 <= job.seen_seconds < 60 for job in jobs)
    assert past.waiting.censuses["main"].videos == 1
    assert all(isinstance(job, InFlight) and job.size_bytes == SIZE_BYTES for job in jobs)


async def test_waiting_videos_are_counted_by_what_is_known(steps: Steps):
    """By lane: durations before sizes, and those of which nothing is known; claimed ones wait, settled ones do not."""
    owner, other, backfill = await steps.own(), await steps.own("other"), await steps.backfill()
    objects = [
        (Object("archive", "a", size_bytes=5, duration_ms=60_000), owner.lane_id),
        (Object("archive", "b", size_bytes=7), owner.lane_id),
        (Object("archive", "c", size_bytes=7), owner.lane_id),
        (Object("archive", "d"), owner.lane_id),
        (Object("archive", "e", size_bytes=10**10), other.lane_id),
    ]
    await steps.done(owner, backfill, ["done.mp4"])
    await steps.registry.add(backfill, objects)
    await steps.claim(owner, backfill, limit=2)
    expected = Census()
    for named, lane_id in objects:
        if lane_id == owner.lane_id:
            expected.count(size_bytes=named.size_bytes, duration_ms=named.duration_ms)
    past = await look(steps, backfill)
    assert past.waiting.censuses["main"] == expected
    assert past.waiting.censuses["other"].of("size_bytes").total == 10**10
    assert past.waiting.regions == {"main": "us-east-1", "other": "us-east-1"}


async def test_outcomes_become_shares(steps: Steps):
    """Skipped ones among all that were taken up, failed ones among those that came to an end at AWS."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, keys(3))
    await steps.execute("update tally set failed = 1, skipped = 2, active = 2")
    past = await look(steps, backfill)
    await steps.execute("update tally set failed = 0, skipped = 0, active = 0")
    assert past.shares == Shares(skipped=2 / 8, failed=1 / 4)


async def test_other_backfills_wait_beside(steps: Steps):
    """By lane, those of a higher priority and of the same; lower ones, paused ones and its own do not count."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(9))
    for name, priority, count in (("urgent", 5, 1), ("equal", 0, 2), ("idle", -1, 4), ("paused", 5, 8)):
        await steps.register(await steps.backfill(name, priority=priority), owner, keys(count))
    await steps.registry.pause("paused", "by hand")
    assert (await look(steps, backfill)).beside == {"main": Queue(urgent=1, equal=2)}
    assert (await look(steps, backfill, priority=9)).beside == {"main": Queue(urgent=0, equal=0)}
    assert (await look(steps, None)).beside == {"main": Queue(urgent=1, equal=11)}

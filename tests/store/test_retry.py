"""Trying again: what was not paid for at once, what can still be read for nothing, the rest by an operator's word."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.store.steps import BUCKET, MINUTE_MS, SIZE_BYTES, Steps, page, seen
from worker import failpoints
from worker.errors import UsageError
from worker.model import UNREADABLE, Backfill, Failure, Job, Object
from worker.store.claims import Verdicted
from worker.store.database import SQL
from worker.store.guards import Guards, Suspicion
from worker.store.jobs import ENOUGH_JOBS, Aside
from worker.store.leases import LaneHolder
from worker.store.purge import Purge
from worker.store.retries import Outlook, Retries, Terms

RESULTS_SECONDS = 604_800.0
CAREFUL = Terms(RESULTS_SECONDS)
CONSENTING = Terms(RESULTS_SECONDS, accepts_repay=True)
WITH_SKIPPED = Terms(RESULTS_SECONDS, with_skipped=True)


async def retry(steps: Steps, backfill: Backfill, terms: Terms = CAREFUL) -> tuple[Outlook, int]:
    """What the command does: looks, then tries again; returns the outlook, and how many videos wait again."""
    retries = Retries(steps.database)
    outlook = await retries.outlook(backfill, terms)
    return outlook, await retries.retry(backfill, terms, outlook, "an operator")


async def failed_at_aws(steps: Steps, owner: LaneHolder, backfill: Backfill, keys: list[str]) -> list[int]:
    """Videos whose jobs AWS called FAILED."""
    job_ids = await steps.ready(owner, backfill, keys)
    for job_id in job_ids:
        await steps.jobs.fail(Failure(job_id, "failed", "unsupported codec", "failed", at_aws=True))
    return job_ids


async def unreadable(steps: Steps, owner: LaneHolder, backfill: Backfill, keys: list[str]) -> list[int]:
    """Videos of which one page was written, and the next could not be."""
    job_ids = await steps.ready(owner, backfill, keys)
    for job_id in job_ids:
        await steps.pages.write([page(job_id, detections=seen(5), next_token="more")])
        failure = Failure(job_id, "failed", f"{UNREADABLE}: a name of 10,000 symbols", "failed")
        await steps.jobs.fail(failure, Aside(2, b"what came"))
    return job_ids


async def uncertain(steps: Steps, owner: LaneHolder, backfill: Backfill, keys: list[str]) -> list[Job]:
    """Videos whose starts may have been paid."""
    jobs = await steps.intents(owner, backfill, keys)
    for job in jobs:
        await steps.jobs.fail(Failure(job.id, "uncertain", "too old to ask", "uncertain"))
    return jobs


async def bought(steps: Steps, owner: LaneHolder, backfill: Backfill) -> list[Job]:
    """The jobs that the pending videos of a backfill come to."""
    return (await steps.intend(owner, backfill, (await steps.claim(owner, backfill)).videos)).jobs


async def attached(steps: Steps, owner: LaneHolder, backfill: Backfill, keys: list[str]) -> None:
    """Register videos whose objects have jobs already, and attach them to these."""
    await steps.register(backfill, owner, keys)
    assert await bought(steps, owner, backfill) == []


async def videos(steps: Steps, backfill: Backfill) -> list[tuple[Any, ...]]:
    """State, reason and generation of each video, in the order of registration."""
    sql = "select state, reason, generation from video where backfill_id = $1 order by id"
    return await steps.rows(sql, backfill.id)


async def test_proven_failure_is_bought_in_the_next_generation(steps: Steps):
    """A job that AWS called FAILED is bought anew without a question, under another token, whatever was allowed."""
    owner, backfill = await steps.own(), await steps.backfill(max_generations=1)
    (job_id,) = await failed_at_aws(steps, owner, backfill, ["a.mp4"])
    token = await steps.value("select token from job where id = $1", job_id)
    outlook, waiting = await retry(steps, backfill)
    assert (outlook.free, outlook.read, outlook.repay, waiting) == (1, 0, 0, 1)
    assert await videos(steps, backfill) == [("pending", None, 2)]
    (job,) = await bought(steps, owner, backfill)
    assert job.token != token


async def test_refused_start_is_tried_again(steps: Steps):
    """A start that AWS refused has bought nothing."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.intents(owner, backfill, ["a.mp4"])
    await steps.jobs.fail(Failure(job.id, "failed", "start refused: no", "failed"))
    assert (await retry(steps, backfill))[1] == 1
    assert len(await bought(steps, owner, backfill)) == 1


async def test_poison_is_taken_up_again_from_the_first_time(steps: Steps):
    """A video that seemed to kill the process has no job, and its claims count from nothing again."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    for _ in range(3):
        await steps.claim(owner, backfill)
        await steps.claims.recover(owner, [])
    (video,) = (await steps.claim(owner, backfill)).videos
    await steps.claims.settle([Verdicted(video.id, "failed", "poison: taken up 3 times")])
    assert (await retry(steps, backfill))[1] == 1
    (video,) = (await steps.claim(owner, backfill)).videos
    assert (video.claims, video.generation) == (1, 1)


async def test_skipped_videos_are_tried_again_when_asked_for(steps: Steps):
    """An object that was skipped, by HEAD or at the start, is left alone unless the operator names skipped ones."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.intents(owner, backfill, ["refused.mp4"])
    await steps.jobs.fail(Failure(job.id, "failed", "unreadable object", "skipped"))
    await steps.register(backfill, owner, ["archived.mp4"])
    (video,) = (await steps.claim(owner, backfill)).videos
    await steps.claims.settle([Verdicted(video.id, "skipped", "archived: restore the object first")])
    assert await retry(steps, backfill) == (Outlook(), 0)
    assert (await retry(steps, backfill, WITH_SKIPPED))[1] == 2
    assert await videos(steps, backfill) == [("pending", None, 2), ("pending", None, 1)]


async def test_unreadable_result_is_read_again_for_nothing(steps: Steps):
    """Its job is ready from page 1, its pages are gone, what was spent is reserved until the length is known anew."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await unreadable(steps, owner, backfill, ["a.mp4"])
    spent, reserved = await steps.money(backfill)
    assert (float(spent), float(reserved)) == (0.1, 0.0)  # a minute was paid, labels or none
    outlook, waiting = await retry(steps, backfill)
    assert (outlook, waiting) == (Outlook(read=1), 1)
    assert await steps.money(backfill) == (reserved, spent)
    (job,) = await steps.jobs.ready(owner.lane_id, in_hand=[], limit=9, page_token_seconds=60)
    assert (job.id, job.next_page, job.next_token, job.detections) == (job_id, 1, None, 0)
    assert await steps.value("select (select count(*) from detection) + (select count(*) from page_aside)") == 0
    await steps.pages.write([page(job_id, detections=seen(7))])
    assert await videos(steps, backfill) == [("done", None, 1)]
    assert await steps.value("select count(*) from moderation_labels") == 7
    assert await steps.money(backfill) == (spent, reserved)


async def test_unreadable_result_that_has_expired_needs_consent(steps: Steps):
    """What AWS has forgotten cannot be read again, only bought again."""
    owner, backfill = await steps.own(), await steps.backfill()
    await unreadable(steps, owner, backfill, ["a.mp4"])
    await steps.execute("update job set started_at = started_at - interval '7 days 1 minute'")
    outlook, waiting = await retry(steps, backfill)
    assert (outlook.repay, waiting) == (1, 0)
    assert (await retry(steps, backfill, CONSENTING))[1] == 1
    assert len(await bought(steps, owner, backfill)) == 1


@pytest.mark.parametrize(
    ("state", "reason", "video_state"),
    [
        ("uncertain", "too old to ask", "uncertain"),
        ("expired", "results expired", "expired"),
        ("failed", "source changed while it was moderated", "failed"),
    ],
)
async def test_what_may_have_been_paid_needs_consent(steps: Steps, state: Any, reason: str, video_state: Any):
    """Without the operator's word nothing moves; with it the next generation is bought."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    await steps.jobs.fail(Failure(job_id, state, reason, video_state))
    outlook, waiting = await retry(steps, backfill)
    assert (outlook.free, outlook.read, outlook.repay, waiting) == (0, 0, 1, 0)
    assert await videos(steps, backfill) == [(video_state, reason, 1)]
    assert (await retry(steps, backfill, CONSENTING))[1] == 1
    assert await videos(steps, backfill) == [("pending", None, 2)]
    (job,) = await bought(steps, owner, backfill)
    assert job.token != await steps.value("select token from job where id = $1", job_id)


async def test_purchase_that_a_restored_database_forgot_needs_consent(steps: Steps):
    """A video that is uncertain without a job may have been bought: it is not taken for one that never was."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    guards = Guards(steps.database)
    assert await guards.mark_uncertain(Suspicion(datetime.now(UTC), 0.0, 1)) == 1
    outlook, waiting = await retry(steps, backfill)
    assert (outlook.free, outlook.repay, waiting) == (0, 1, 0)
    assert (await retry(steps, backfill, CONSENTING))[1] == 1
    assert await videos(steps, backfill) == [("pending", None, 1)]


async def test_retry_twice_is_retry_once(steps: Steps):
    """Two operators at once, and a third one afterwards, bring each video back once."""
    owner, backfill = await steps.own(), await steps.backfill()
    await failed_at_aws(steps, owner, backfill, [f"{i}.mp4" for i in range(20)])
    await unreadable(steps, owner, backfill, [f"unreadable-{i}.mp4" for i in range(20)])
    done = await asyncio.gather(retry(steps, backfill), retry(steps, backfill))
    assert sum(waiting for _, waiting in done) == 40
    assert (await retry(steps, backfill)) == (Outlook(), 0)
    assert Counter(await steps.states(backfill)) == {"pending": 20, "active": 20}
    assert {generation for _, _, generation in (await videos(steps, backfill))[:20]} == {2}


async def test_consent_twice_is_paid_once(steps: Steps):
    """The word that buys again is used up: the second time nothing is left to buy."""
    owner, backfill = await steps.own(), await steps.backfill()
    await uncertain(steps, owner, backfill, ["a.mp4"])
    await asyncio.gather(*(retry(steps, backfill, CONSENTING) for _ in range(3)))
    jobs = await bought(steps, owner, backfill)
    await retry(steps, backfill, CONSENTING)
    assert (len(jobs), await bought(steps, owner, backfill)) == (1, [])
    assert await steps.value("select count(*) from job") == 2


async def test_batches_reach_every_video(steps: Steps, monkeypatch: pytest.MonkeyPatch):
    """However many transactions it takes: what can be tried again is, and what lies between stays."""
    monkeypatch.setattr("worker.store.retries.BATCH", 3)
    owner, backfill = await steps.own(), await steps.backfill()
    for i in range(5):
        await failed_at_aws(steps, owner, backfill, [f"{i}-a.mp4", f"{i}-b.mp4"])
        await uncertain(steps, owner, backfill, [f"{i}-c.mp4"])
        await unreadable(steps, owner, backfill, [f"{i}-d.mp4"])
    outlook, waiting = await retry(steps, backfill)
    assert (outlook.free, outlook.read, outlook.repay, waiting) == (10, 5, 5, 15)
    assert Counter(await steps.states(backfill)) == {"pending": 10, "active": 5, "uncertain": 5}


async def test_newer_generation_of_another_backfill_is_shared_for_nothing(steps: Steps):
    """An uncertain video whose object was bought again elsewhere needs no consent: it gets those labels."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await uncertain(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    await retry(steps, second, CONSENTING)
    (job,) = await bought(steps, owner, second)
    assert await videos(steps, first) == [("uncertain", "too old to ask", 1)]
    await steps.start([job])
    await steps.finish(owner, [job])
    await steps.pages.write([page(job.id, detections=seen(3))])
    outlook, waiting = await retry(steps, first)
    assert (outlook, waiting) == (Outlook(free=1), 1)
    assert await bought(steps, owner, first) == []
    assert await videos(steps, first) == [("done", None, 2)]


async def test_generation_follows_the_latest_of_the_identity(steps: Steps):
    """Where another backfill has bought generation 2 and it FAILED too, the next one is the third."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await failed_at_aws(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    await retry(steps, second)
    (job,) = await bought(steps, owner, second)
    await steps.start([job])
    await steps.jobs.fail(Failure(job.id, "failed", "unsupported codec", "failed", at_aws=True))
    await retry(steps, first)
    assert await videos(steps, first) == [("pending", None, 3)]
    assert len(await bought(steps, owner, first)) == 1


async def test_shared_job_keeps_its_end_for_the_others(steps: Steps):
    """Buying again for one backfill leaves the other's video with the job that they shared."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await uncertain(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    await retry(steps, first, CONSENTING)
    assert await videos(steps, first) == [("pending", None, 2)]
    assert await videos(steps, second) == [("uncertain", "too old to ask", 1)]
    assert await steps.rows("select state, generation from job") == [("uncertain", 1)]


async def test_result_that_is_read_again_is_read_for_all_who_share_it(steps: Steps):
    """One result is one truth: the other backfill's video gets the labels as well, and pays nothing."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job_id,) = await unreadable(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    assert (await retry(steps, second))[1] == 1
    assert (await steps.states(first), await steps.states(second)) == (["active"], ["active"])
    await steps.pages.write([page(job_id, detections=seen(2))])
    assert (await steps.states(first), await steps.states(second)) == (["done"], ["done"])
    assert [float(spent) for spent, _ in (await steps.money(first), await steps.money(second))] == [0.1, 0.0]


async def test_result_whose_buyer_was_purged_is_read_again(steps: Steps):
    """The job becomes that of the backfill which asks, with its money, and settles as any other."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job_id,) = await unreadable(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    _ = [gone async for gone in Purge(steps.database, first).run("an operator")]
    assert (await retry(steps, second))[1] == 1
    assert [float(usd) for usd in await steps.money(second)] == [0.0, 0.1]
    await steps.pages.write([page(job_id, detections=seen(2))])
    assert await steps.states(second) == ["done"]
    assert await steps.rows("select cost_usd::float8 from video_status") == [(0.1,)]


async def test_result_whose_buyer_is_going_is_read_again(steps: Steps, monkeypatch: pytest.MonkeyPatch):
    """In the middle of a purge nothing of the purged backfill is woken, and its purge goes on to the end."""
    monkeypatch.setattr("worker.store.purge.WINDOW", 1)
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    job_ids = await unreadable(steps, owner, first, ["a.mp4", "b.mp4"])
    await attached(steps, owner, second, ["a.mp4", "b.mp4"])
    purge = Purge(steps.database, first).run("an operator")
    assert (await anext(purge)).videos == 1
    assert (await retry(steps, second))[1] == 2
    assert await steps.states(first) == ["failed"]
    assert [gone async for gone in purge][-1].videos == 2
    assert [float(usd) for usd in await steps.money(second)] == [0.0, 0.2]
    await steps.pages.write([page(job_id, detections=seen(2)) for job_id in job_ids])
    assert await steps.states(second) == ["done", "done"]


async def test_cost_is_told_from_what_is_known(steps: Steps):
    """A known duration counts; else what the lane has learned of minutes a gigabyte, at the backfill's price."""
    owner = await steps.own()
    backfill = await steps.backfill(price_usd_per_minute=0.5, expected_minutes_per_gb=10.0, budget="strict")
    objects = [
        (Object(BUCKET, "known.mp4", duration_ms=3 * MINUTE_MS), owner.lane_id),
        (Object(BUCKET, "unknown.mp4"), owner.lane_id),
    ]
    await steps.registry.add(backfill, objects)
    for job in await bought(steps, owner, backfill):
        await steps.jobs.fail(Failure(job.id, "uncertain", "too old to ask", "uncertain"))
    outlook, _ = await retry(steps, backfill)
    assert outlook.repay_usd == pytest.approx(3 * 0.5 + SIZE_BYTES / 1e9 * 10 * 0.5)
    await steps.done(owner, backfill, [f"{i}.mp4" for i in range(ENOUGH_JOBS)])
    await steps.execute("update job set duration_ms = $1, cost_usd = 0 where state = 'done'", 30 * MINUTE_MS)
    await steps.execute("update tally set spent_usd = 0")
    outlook, _ = await retry(steps, backfill)
    assert outlook.repay_usd == pytest.approx(3 * 0.5 + SIZE_BYTES / 1e9 * 30 * 0.5)


async def test_decision_is_written_down_once_with_its_cost(steps: Steps):
    """The audit tells who tried what again and at what expected cost; consent is an action of its own."""
    owner, backfill = await steps.own(), await steps.backfill(expected_minutes_per_gb=20.0)
    await retry(steps, backfill)
    await failed_at_aws(steps, owner, backfill, ["a.mp4"])
    await uncertain(steps, owner, backfill, ["b.mp4", "c.mp4"])
    await retry(steps, backfill)
    await retry(steps, backfill)
    await retry(steps, backfill, CONSENTING)
    found = await steps.rows(
        "select who, action, (detail ->> 'free_videos')::int, (detail ->> 'repaid_videos')::int,"
        " (detail ->> 'expected_usd')::float8 from audit where action <> 'register' order by id"
    )
    assert found == [("an operator", "retry", 1, 0, 2.0), ("an operator", "repay accepted", 0, 2, 4.0)]


async def test_backfill_that_is_being_purged_is_not_tried_again(steps: Steps):
    """A retry that comes after the decision to purge moves nothing and says why."""
    owner, backfill = await steps.own(), await steps.backfill()
    await failed_at_aws(steps, owner, backfill, ["a.mp4"])
    await steps.execute("update backfill set purging_at = now()")
    with pytest.raises(UsageError, match="is being purged"):
        await retry(steps, backfill)
    assert await steps.states(backfill) == ["failed"]


async def test_retry_waits_for_a_decision_to_purge_and_sees_it(steps: Steps):
    """A purge that is being decided on comes first: the retry waits for the tallies, and moves nothing."""
    owner, backfill = await steps.own(), await steps.backfill()
    await failed_at_aws(steps, owner, backfill, ["a.mp4"])
    async with steps.database.transaction("another") as deciding:
        await deciding.execute(SQL["lock_tallies_of_backfill"], backfill.id)
        await deciding.execute(SQL["mark_purging"], backfill.id)
        retrying = asyncio.create_task(retry(steps, backfill))
        await steps.until_somebody_waits()
    with pytest.raises(UsageError, match="is being purged"):
        await retrying
    assert await steps.states(backfill) == ["failed"]


async def test_retry_locks_jobs_before_tallies(steps: Steps):
    """While a retry waits for a job that somebody settles, that somebody can have the tallies: no deadlock."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await failed_at_aws(steps, owner, backfill, ["a.mp4"])
    async with steps.database.transaction("another") as settling:
        await settling.execute(SQL["lock_jobs"], job_ids)
        retrying = asyncio.create_task(retry(steps, backfill))
        await steps.until_somebody_waits()
        await settling.execute("select from tally for update nowait")
    assert (await retrying)[1] == 1


async def test_retries_amid_work_keep_the_books(steps: Steps):
    """Two backfills of the same objects, worked on, failed and retried at once by many: nothing is bought beside it."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    keys = [f"{i}.mp4" for i in range(30)]
    for backfill in (first, second):
        await steps.register(backfill, owner, keys)

    async def work(backfill: Backfill) -> None:
        for _ in range(6):
            claimed = await steps.claim(owner, backfill, limit=rng.randint(1, 30))
            jobs = (await steps.intend(owner, backfill, claimed.videos)).jobs
            rng.shuffle(jobs)
            third = len(jobs) // 3
            await steps.start(jobs[third:])
            await steps.finish(owner, jobs[third:])
            for job in jobs[:third]:
                await steps.jobs.fail(Failure(job.id, "failed", "start refused: no", "failed"))
            for job in jobs[third : 2 * third]:
                await steps.jobs.fail(Failure(job.id, "failed", "unsupported codec", "failed", at_aws=True))
            for job in jobs[2 * third :]:
                await steps.pages.write([page(job.id, detections=seen(2), next_token="more")])
                await steps.jobs.fail(Failure(job.id, "failed", f"{UNREADABLE}: no", "failed"))

    async def operate(backfill: Backfill) -> None:
        for _ in range(8):
            await retry(steps, backfill)

    await asyncio.gather(work(first), work(second), operate(first), operate(second), operate(first))
    paid_twice = """select identity from job
                     where aws_job_id is not null and not failed_at_aws group by 1 having count(*) > 1"""
    assert await steps.rows(paid_twice) == []


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("commit", ["write_retry_down", "retry_batch"])
async def test_lost_answer_of_a_commit_retries_nothing_twice(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, commit: str, side: str
):
    """Whether the commit took place or not, it is done again, and every video comes back once."""
    owner, backfill = await steps.own(), await steps.backfill()
    await failed_at_aws(steps, owner, backfill, ["a.mp4", "b.mp4"])
    await unreadable(steps, owner, backfill, ["c.mp4"])
    monkeypatch.setitem(failpoints._armed, f"{commit}: {side}", lost_once())
    await retry(steps, backfill)
    assert [(state, generation) for state, _, generation in await videos(steps, backfill)] == [
        ("pending", 2),
        ("pending", 2),
        ("active", 1),
    ]


def lost_once() -> failpoints.Action:
    """A connection that breaks the first time, and holds from then on."""
    breaks = iter([True])

    def act() -> None:
        if next(breaks, False):
            raise ConnectionResetError

    return act

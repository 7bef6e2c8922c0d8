"""Purging: a backfill goes with what only it has bought; what others share stays, and the books stay true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.store.steps import Steps, page, seen
from tests.store.test_retry import CONSENTING, attached, bought, failed_at_aws, lost_once, retry, uncertain, unreadable
from worker import failpoints
from worker.errors import UsageError
from worker.model import Backfill
from worker.store.database import SQL
from worker.store.purge import Purge, Purged


async def purge(steps: Steps, backfill: Backfill) -> Purged:
    """Purge to the end; returns what is gone."""
    return [Purged(), *[gone async for gone in Purge(steps.database, backfill).run("an operator")]][-1]


async def left(steps: Steps) -> dict[str, Any]:
    """How many rows the tables hold that a purge is about."""
    tables = ("backfill", "tally", "video", "job", "detection", "job_label", "page_aside")
    return {table: await steps.value(f"select count(*) from {table}") for table in tables}


async def findings(steps: Steps) -> list[str]:
    """What `verify` finds."""
    return (await steps.reports.verify(None, is_thorough=True))[1]


async def test_final_backfill_goes_without_a_trace_but_in_the_audit(steps: Steps):
    """Videos in every final state, jobs of every generation, labels and tallies go; the audit keeps the sums."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4", "b.mp4"], labels=3)
    await failed_at_aws(steps, owner, backfill, ["c.mp4"])
    await retry(steps, backfill)
    (job,) = await bought(steps, owner, backfill)
    await steps.start([job])
    await steps.finish(owner, [job])
    await steps.pages.write([page(job.id, detections=seen(4))])
    await uncertain(steps, owner, backfill, ["d.mp4"])
    await unreadable(steps, owner, backfill, ["e.mp4"])
    assert await purge(steps, backfill) == Purged(videos=5, jobs=6, shared=0, labels=15)
    assert set((await left(steps)).values()) == {0}
    kept = (
        "select who, backfill, detail ->> 'done', detail ->> 'uncertain', detail ->> 'labels', detail ->> 'spent_usd'"
    )
    assert await steps.rows(f"{kept} from audit where action = 'purge'") == [
        ("an operator", "archive", "3", "1", "10", "0.4")
    ]


@pytest.mark.parametrize("is_shared_first", [True, False])
async def test_job_that_others_share_stays_with_its_labels(steps: Steps, is_shared_first: bool):
    """The other backfill keeps state and labels, whoever bought; its own purge takes the rest along."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await steps.done(owner, first, ["shared.mp4", "own.mp4"], labels=3)
    await attached(steps, owner, second, ["shared.mp4"])
    gone, other = (first, second) if is_shared_first else (second, first)
    done = await purge(steps, gone)
    assert (done.jobs, done.shared) == ((1, 1) if is_shared_first else (0, 0))
    assert await findings(steps) == []
    shared = "select state, labels, cost_usd::float8 from video_status where key = 'shared.mp4'"
    assert await steps.rows(shared) == [("done", 3, 0.0 if is_shared_first else 0.1)]
    assert await steps.value("select count(*) from moderation_labels where key = 'shared.mp4'") == 3
    await purge(steps, other)
    assert set((await left(steps)).values()) == {0}


async def test_job_that_another_backfill_bought_and_left_stays_in_its_books(steps: Steps):
    """A job without videos is its buyer's, whose sums count it: the purge of a sharer does not take it."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await uncertain(steps, owner, first, ["a.mp4"])
    await attached(steps, owner, second, ["a.mp4"])
    await steps.execute("update job set cost_usd = 0.5")
    await steps.execute("update tally set spent_usd = 0.5 where backfill_id = $1", first.id)
    await steps.execute("update video set state = 'pending', job_id = null, settled_at = null, reason = null,"
                        " generation = 2 where backfill_id = $1", first.id)  # fmt: skip
    await steps.execute("update tally set uncertain = 0, pending = 1 where backfill_id = $1", first.id)
    assert (await purge(steps, second)).jobs == 0
    assert await findings(steps) == []
    await steps.registry.cancel("first")
    assert (await purge(steps, first)).jobs == 1


async def test_unfinished_backfill_is_refused(steps: Steps):
    """What is pending must be cancelled first, and what is active must be finished; the sentences say so."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.running(owner, backfill, ["a.mp4"])
    await steps.register(backfill, owner, ["b.mp4"])
    with pytest.raises(UsageError, match="not final: 1 of its videos are pending and 1 active; cancel it first"):
        await purge(steps, backfill)
    await steps.registry.cancel(backfill.name)
    with pytest.raises(UsageError, match="1 of the videos of backfill archive are active; let `modworker run` finish"):
        await purge(steps, backfill)
    await steps.finish(owner, [job])
    await steps.pages.write([page(job.id, detections=seen(1))])
    assert (await purge(steps, backfill)).videos == 2
    assert set((await left(steps)).values()) == {0}


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
async def test_interrupted_purge_leaves_true_books_and_goes_on(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, batches: int
):
    """After any batch the books are true; the same command finishes, and is written down once."""
    monkeypatch.setattr("worker.store.purge.WINDOW", 2)
    owner, backfill, other = await steps.own(), await steps.backfill(), await steps.backfill("other")
    await steps.done(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"], labels=2)
    await attached(steps, owner, other, ["b.mp4"])
    await failed_at_aws(steps, owner, backfill, ["d.mp4"])
    await retry(steps, backfill)
    await steps.registry.cancel(backfill.name)
    running = Purge(steps.database, backfill).run("an operator")
    for _ in range(batches):
        await anext(running)
    await running.aclose()
    assert await findings(steps) == []
    await purge(steps, backfill)
    assert await findings(steps) == []
    assert (await left(steps))["video"] == 1
    assert await steps.value("select count(*) from audit where action = 'purge'") == 1


async def test_nothing_is_registered_into_a_backfill_that_goes(steps: Steps):
    """From the mark on, opening, adding and resuming are refused with a sentence; afterwards the name is free."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4"])
    running = Purge(steps.database, backfill).run("an operator")
    await anext(running)
    with pytest.raises(UsageError, match="archive is being purged; let `modworker purge` finish it"):
        await steps.backfill()
    with pytest.raises(UsageError, match="archive is being purged; nothing is registered into it"):
        await steps.register(backfill, owner, ["b.mp4"])
    with pytest.raises(UsageError, match="archive is being purged and cannot go on"):
        await steps.registry.resume(backfill.name)
    _ = [gone async for gone in running]
    with pytest.raises(UsageError, match="nothing is registered into it"):
        await steps.register(backfill, owner, ["b.mp4"])
    with pytest.raises(UsageError, match="it was purged"):
        await steps.registry.progress(backfill.name)
    again = await steps.backfill()
    assert await steps.register(again, owner, ["a.mp4"]) == 1


async def test_registering_and_purging_at_once_leave_true_books(steps: Steps):
    """Whichever comes first: either the backfill grows and is not purged, or it is purged and does not grow."""
    owner = await steps.own()

    for i in range(10):
        backfill = await steps.backfill(f"backfill {i}")
        await steps.done(owner, backfill, [f"{i}.mp4"])
        adding = [steps.register(backfill, owner, [f"{i}-{n}.mp4"]) for n in range(4)]
        outcomes = await asyncio.gather(*adding[:2], purge(steps, backfill), *adding[2:], return_exceptions=True)
        assert all(isinstance(o, int | Purged | UsageError) for o in outcomes), outcomes
        added = sum(o for o in outcomes if isinstance(o, int))
        was_purged = isinstance(outcomes[2], Purged)
        assert was_purged == (added == 0)
        videos = "select count(*) from video where backfill_id = $1"
        assert await steps.value(videos, backfill.id) == (0 if was_purged else 1 + added)


async def test_registering_into_what_has_just_gone_is_refused(steps: Steps):
    """A registration that waits for the purge to end finds no backfill any more, and says so."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    async with steps.database.transaction("another") as purging:
        await purging.execute(SQL["lock_tallies_of_backfill"], backfill.id)
        registering = asyncio.create_task(steps.register(backfill, owner, ["b.mp4"]))
        await steps.until_somebody_waits()
        for table in ("video", "tally"):
            await purging.execute(f"delete from {table} where backfill_id = $1", backfill.id)
        await purging.execute("delete from backfill where id = $1", backfill.id)
    with pytest.raises(UsageError, match="is being purged; nothing is registered into it"):
        await registering
    assert await steps.value("select count(*) from video") == 0


async def test_attaching_while_the_buyer_is_purged_loses_nothing(steps: Steps):
    """Videos of another backfill that meet a job which is going either share it, or buy it anew."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    keys = [f"{i}.mp4" for i in range(40)]
    await steps.done(owner, first, keys, labels=2)
    await steps.register(second, owner, keys)
    videos = (await steps.claim(owner, second)).videos
    attaching = [steps.intend(owner, second, videos[i : i + 2]) for i in range(0, 40, 2)]
    _, *committed = await asyncio.gather(purge(steps, first), *attaching)
    anew = sum(len(each.jobs) for each in committed)
    assert sorted(await steps.states(second)) == ["active"] * anew + ["done"] * (40 - anew)


async def test_purge_waits_for_a_claim_and_sees_it(steps: Steps):
    """A claim that was begun before the cancel is a video that runs: the purge waits for its commit, and is refused."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    async with steps.database.transaction("another") as claiming:
        await claiming.execute(SQL["lock_tally_if_owner"], backfill.id, owner.lane_id, owner.holder, owner.epoch)
        (row,) = await claiming.fetch(SQL["pick_pending"], owner.lane_id, backfill.id, 0, 1)
        await claiming.execute(SQL["take_picked"], [row["id"]], [1], backfill.id, owner.lane_id)
        await steps.registry.cancel(backfill.name)
        purging = asyncio.create_task(purge(steps, backfill))
        await steps.until_somebody_waits()
    with pytest.raises(UsageError, match="1 of the videos of backfill archive are active"):
        await purging
    assert await steps.states(backfill) == ["active"]


async def test_claim_that_comes_after_the_cancel_takes_nothing(steps: Steps):
    """A worker that has listed the backfill before the operator cancelled or paused it claims nothing of it."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    await steps.registry.pause(backfill.name, "by hand")
    assert (await steps.claim(owner, backfill)).videos == []
    await steps.registry.resume(backfill.name)
    await steps.registry.cancel(backfill.name)
    assert (await steps.claim(owner, backfill)).videos == []
    await steps.registry.resume(backfill.name)
    assert len((await steps.claim(owner, backfill)).videos) == 1


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("commit", ["mark_purging", "purge_videos", "purge_jobs", "forget_backfill"])
async def test_lost_answer_of_a_commit_purges_the_same(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, commit: str, side: str
):
    """Whether the commit took place or not, it is done again; the backfill goes, and is written down once."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4"])
    await uncertain(steps, owner, backfill, ["b.mp4"])
    await retry(steps, backfill, CONSENTING)
    await steps.registry.cancel(backfill.name)
    monkeypatch.setitem(failpoints._armed, f"{commit}: {side}", lost_once())
    await purge(steps, backfill)
    assert set((await left(steps)).values()) == {0}
    assert await steps.value("select count(*) from audit where action = 'purge'") == 1

"""A lane that has run dry takes a part of the longest queue of its region; the books stay true."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.store.steps import Steps
from worker.model import Backfill
from worker.store.leases import LaneHolder

LEAST, MOST = 10, 1000


def keys(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number:03}.mp4" for number in range(count)]


async def pending(steps: Steps, owner: LaneHolder, backfill: Backfill) -> list[str]:
    """Keys that wait on a lane, in the order in which it claims them."""
    sql = """select key from video where lane_id = $1 and backfill_id = $2 and state = 'pending' order by claim_order"""
    return [key for (key,) in await steps.rows(sql, owner.lane_id, backfill.id)]


async def true_books(steps: Steps) -> None:
    _, findings = await steps.reports.verify(None)
    assert findings == []


async def test_half_of_the_longest_queue_comes_over(steps: Steps):
    """The last videos of it, which its own lane would come to last; and no video twice."""
    dry, short, long = [await steps.own(name) for name in ("dry", "short", "long")]
    backfill = await steps.backfill()
    await steps.register(backfill, short, keys(20, "short/"))
    await steps.register(backfill, long, keys(40, "long/"))
    assert await steps.claims.take_slab(dry, least=LEAST, most=MOST) == 20
    assert await pending(steps, dry, backfill) == keys(40, "long/")[20:]
    assert await pending(steps, long, backfill) == keys(40, "long/")[:20]
    assert len((await steps.claim(dry, backfill)).videos) == 20
    await true_books(steps)


async def test_no_more_than_asked_for_comes_over(steps: Steps):
    """A slab is bounded, however long the queue is."""
    dry, long = await steps.own("dry"), await steps.own("long")
    await steps.register(await steps.backfill(), long, keys(40))
    assert await steps.claims.take_slab(dry, least=LEAST, most=3) == 3
    await true_books(steps)


async def test_the_most_urgent_queue_comes_first(steps: Steps):
    """A short queue of an urgent backfill is shared before the long one of an archive."""
    dry, busy = await steps.own("dry"), await steps.own("busy")
    archive, live = await steps.backfill("archive"), await steps.backfill("live", priority=9)
    await steps.register(archive, busy, keys(40))
    await steps.register(live, busy, keys(12))
    assert await steps.claims.take_slab(dry, least=LEAST, most=MOST) == 6
    assert [backfill.name for backfill in await steps.claims.claimable(dry.lane_id)] == ["live"]


@pytest.mark.parametrize("reason", ["short", "paused", "cancelled", "another region", "suspected"])
async def test_what_is_left_where_it_is(steps: Steps, reason: str):
    """Short queues, those that nobody may work on, those of other regions, and videos that were taken up before."""
    dry, busy = await steps.own("dry"), await steps.own("busy")
    backfill = await steps.backfill()
    await steps.register(backfill, busy, keys(LEAST - 1 if reason == "short" else 40))
    changes = {
        "paused": "update backfill set paused_at = now(), pause_reason = 'by hand'",
        "cancelled": "update backfill set cancelled_at = now()",
        "another region": "update lane set region = 'eu-west-1' where name = 'dry'",
        "suspected": "update video set claims = 1",
    }
    if reason in changes:
        await steps.execute(changes[reason])
    assert await steps.claims.take_slab(dry, least=LEAST, most=MOST) == 0
    assert len(await pending(steps, busy, backfill)) == (LEAST - 1 if reason == "short" else 40)
    await true_books(steps)


async def test_process_that_lost_the_lane_takes_nothing(steps: Steps):
    """Only the owner decides where videos are worked on."""
    dry, busy = await steps.own("dry"), await steps.own("busy")
    await steps.register(await steps.backfill(), busy, keys(40))
    await steps.execute("update lane set epoch = epoch + 1 where name = 'dry'")
    assert await steps.claims.take_slab(dry, least=LEAST, most=MOST) == 0
    await true_books(steps)


async def test_lanes_that_take_from_each_other_lose_nothing(steps: Steps):
    """Four lanes claim, intend and take over at once: each video has one job, and the books are true."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    owners = [await steps.own(f"lane{number}") for number in range(4)]
    backfill = await steps.backfill(budget_usd=150.0)
    await steps.register(backfill, owners[0], keys(120, "0/"))
    await steps.register(backfill, owners[1], keys(80, "1/"))

    async def work(owner: LaneHolder) -> None:
        for _ in range(60):
            videos = (await steps.claim(owner, backfill, limit=rng.randint(1, 5))).videos
            if not videos:
                await steps.claims.take_slab(owner, least=2, most=rng.randint(1, 9))
            elif rng.random() < 0.8:
                await steps.intend(owner, backfill, videos)
            else:
                await steps.claims.give_back(owner, [video.id for video in videos])

    async with asyncio.timeout(60):
        await asyncio.gather(*map(work, owners))
    assert await steps.value("select count(*) from video where backfill_id = $1", backfill.id) == 200
    assert await steps.value("select count(*) from job") == await steps.value(
        "select count(distinct job_id) from video"
    )
    assert await steps.value("select count(distinct lane_id) from job") == 4
    await true_books(steps)

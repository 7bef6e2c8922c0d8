"""Where the next claim begins: what is settled lies behind it, and is not passed over again."""

from __future__ import annotations

import anyio

from tests.store.steps import Steps
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Job
from worker.pipeline.claim import Claimer


async def test_claims_begin_again_at_the_end_and_stay_without_money(steps: Steps, lane: Lane):
    """A claim goes on after the last one; where none is left it begins anew, where the money is out it need not."""
    intents, nobody = anyio.create_memory_object_stream[Job](1)
    nobody.close()
    claimer = Claimer(lane, steps.claims, intents, Stop())
    intents.close()
    backfill = await steps.backfill(budget_usd=lane.estimate(await steps.backfill("price"), 10**9, None) * 2.5)
    await steps.register(backfill, lane.owner, ["a.mp4", "b.mp4", "c.mp4"], size_bytes=10**9)
    orders = [order for (order,) in await steps.rows("select claim_order from video order by claim_order")]
    assert len(await claimer._claim(backfill)) == 2
    assert claimer._positions == {backfill.id: orders[1]}
    assert await claimer._claim(backfill) == []
    assert lane.out_of_budget == {backfill.name}
    assert claimer._positions == {backfill.id: orders[1]}
    backfill = await steps.backfill(budget_usd=1000.0)
    assert [video.object.key for video in await claimer._claim(backfill)] == ["c.mp4"]
    assert await claimer._claim(backfill) == []
    assert claimer._positions == {backfill.id: 0}

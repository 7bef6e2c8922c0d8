"""Money over eight lanes at once: no claim passes the budget, and under `strict` the sum never does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.store.steps import MINUTE_MS, Steps, intent_for, notices_of, page, price
from worker.flow.estimate import LONGEST_MINUTES, expected_usd
from worker.model import Backfill, Failure, Job, Video
from worker.store.claims import Estimate
from worker.store.leases import LaneHolder

LANES = 8
VIDEOS_A_LANE = 40
USD_A_MINUTE = 0.1
STEPS = 400
STRICT_USD = LONGEST_MINUTES * USD_A_MINUTE


class Hands:
    """What one lane has in hand: videos claimed, jobs intended, jobs started; each step takes it on by chance."""

    def __init__(
        self, steps: Steps, owner: LaneHolder, backfill: Backfill, rng: random.Random, estimate: Callable[[], Estimate]
    ) -> None:
        self._steps = steps
        self._owner = owner
        self._backfill = backfill
        self._rng = rng
        self._estimate = estimate
        self._claimed: list[Video] = []
        self._intended: list[Job] = []

    async def step(self) -> bool:
        """Do one thing or another; True if it was a claim that took something."""
        chosen = self._rng.choice([self._claim, self._claim, self._intend, self._end, self._end, self._return])
        return bool(await chosen())

    async def _claim(self) -> int:
        claimed = await self._steps.claims.claim(
            self._owner, self._backfill, after=0, limit=self._rng.randint(1, 6), estimate=self._estimate()
        )
        self._claimed += claimed.videos
        return len(claimed.videos)

    async def _intend(self) -> None:
        """Commit what is claimed, at what HEAD makes of its price."""
        intents = [intent_for(video) for video in self._claimed]
        channel = await self._steps.channel(self._owner)
        committed = await self._steps.claims.commit_intents(
            self._owner, self._backfill, channel, intents, self._estimate()
        )
        self._claimed.clear()
        self._intended += committed.jobs

    async def _end(self) -> None:
        """A job ends: refused, FAILED at AWS, or done, and shorter or longer than expected."""
        if not self._intended:
            return
        job = self._intended.pop(self._rng.randrange(len(self._intended)))
        end = self._rng.choice(["refused", "failed at AWS", "unreadable", "done", "done", "done"])
        if end != "refused":
            await self._steps.start([job])
        if end == "done":
            await self._steps.jobs.mark_finished(self._owner.lane_id, notices_of([job]))
            await self._steps.pages.write([page(job.id, duration_ms=self._rng.randint(1, 60) * MINUTE_MS)])
        else:
            is_free = end == "failed at AWS"
            await self._steps.jobs.fail(Failure(job.id, "failed", end, "failed", worth_another=is_free, at_aws=is_free))

    async def _return(self) -> None:
        await self._steps.claims.give_back(self._owner, [video.id for video in self._claimed])
        self._claimed.clear()


@pytest.fixture
def rng() -> random.Random:
    """Chance, whose seed is printed."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


async def hands(steps: Steps, backfill: Backfill, rng: random.Random, estimate: Callable[[], Estimate]) -> list[Hands]:
    """Eight lanes with videos."""
    made = []
    for number in range(LANES):
        owner = await steps.own(f"lane{number}")
        await steps.register(backfill, owner, [f"{number}/{n}.mp4" for n in range(VIDEOS_A_LANE)])
        made.append(Hands(steps, owner, backfill, rng, estimate))
    return made


async def total(steps: Steps, backfill: Backfill) -> Decimal:
    """Spent and reserved, over all lanes."""
    return sum(await steps.money(backfill), Decimal())


def strict(backfill: Backfill) -> Callable[[], Estimate]:
    """What is reserved for a video that may be as long as any."""

    def estimate(_: Backfill, size_bytes: int | None, duration_ms: int | None) -> float:
        return expected_usd(backfill, size_bytes=size_bytes, duration_ms=duration_ms, learned_minutes_per_gb=None)

    return lambda: estimate


async def true_books(steps: Steps) -> None:
    """What the tallies say is what the videos and jobs add up to."""
    _, findings = await steps.reports.verify(None)
    assert findings == []


async def test_no_claim_passes_the_budget(steps: Steps, rng: random.Random):
    """Whatever videos turn out to cost, and however the budget is changed, a claim that takes anything fits into it."""
    budget = 20.0
    backfill = await steps.backfill(budget_usd=budget)
    lanes = await hands(steps, backfill, rng, lambda: price(round(rng.uniform(0.05, 3.0), 2)))
    claims = 0
    for number in range(STEPS):
        if number % 50 == 49:
            budget = round(rng.uniform(10.0, 90.0), 2)
            await steps.backfill(budget_usd=budget)
        if await rng.choice(lanes).step():
            claims += 1
            assert await total(steps, backfill) <= Decimal(str(budget))
    assert claims > LANES
    await true_books(steps)


async def test_strict_budget_is_never_passed(steps: Steps, rng: random.Random):
    """Eight lanes at once under `strict`: whoever looks, at any moment, sees no more than the budget."""
    budget = STRICT_USD * 5.5
    backfill = await steps.backfill(budget_usd=budget, budget="strict")
    lanes = await hands(steps, backfill, rng, strict(backfill))
    seen: list[Decimal] = []

    async def look() -> None:
        while True:
            seen.append(await total(steps, backfill))

    async def work(lane: Hands) -> None:
        for _ in range(STEPS // LANES):
            await lane.step()

    looking = asyncio.create_task(look())
    await asyncio.gather(*map(work, lanes))
    looking.cancel()
    print(f"looked {len(seen)} times, the most seen was {max(seen)}")
    assert STRICT_USD < max(seen) <= Decimal(str(budget))
    await true_books(steps)

"""Paces in virtual time: evenly spaced, never above the ceiling, cut once a round trip, and back at the ceiling."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.flow.pace import CUT, FIRST_CUT, FLOOR, SECONDS_TO_RECOVER, Pace

RATES = st.floats(min_value=0.2, max_value=200.0)


def most_in_a_second(moments: list[float]) -> int:
    """The most calls in any second that begins with a call; the end is open, give or take a rounding error."""
    return max(bisect_left(moments, at + 1 - 1e-6) - i for i, at in enumerate(moments))


@given(rate=RATES, gaps=st.lists(st.floats(min_value=0.0, max_value=3.0), min_size=1, max_size=300))
def test_no_second_holds_more_calls_than_the_ceiling(rate: float, gaps: list[float]):
    """However callers come, idle times and crowds, no second holds more calls than the rate allows."""
    pace, now, moments = Pace(rate), 0.0, []
    for gap in gaps:
        now += gap
        moments.append(pace.take(now))
    assert moments == sorted(moments)
    assert most_in_a_second(moments) <= ceil(rate)


@given(
    rate=RATES,
    answers=st.lists(st.tuples(st.booleans(), st.floats(min_value=0.001, max_value=0.5)), min_size=1, max_size=300),
)
def test_rate_stays_between_floor_and_ceiling(rate: float, answers: list[tuple[bool, float]]):
    """Whatever AWS answers, the rate stays within its bounds and the calls below the ceiling."""
    pace, now, moments = Pace(rate), 0.0, []
    for is_throttled, round_trip in answers:
        sent_at = pace.take(now)
        moments.append(sent_at)
        now = sent_at + round_trip
        if is_throttled:
            pace.throttled(sent_at, now)
        else:
            pace.succeeded(now)
        assert rate * FLOOR <= pace.per_second <= rate
    assert most_in_a_second(moments) <= ceil(rate)


def test_calls_that_were_sent_before_the_cut_do_not_cut_again():
    """A whole round trip of throttled calls cuts the rate once; a call sent afterwards cuts it again."""
    pace = Pace(10.0)
    for i in range(10):
        pace.throttled(sent_at=i * 0.01, now=1.0 + i * 0.01)
    assert pace.per_second == pytest.approx(10.0 * FIRST_CUT)
    pace.throttled(sent_at=1.5, now=1.6)
    assert pace.per_second == pytest.approx(10.0 * FIRST_CUT * CUT)


def test_idle_time_is_no_success():
    """A long silence counts for little more than a second: the rate that was refused is not tried after it."""
    pace = Pace(10.0)
    pace.throttled(sent_at=0.0, now=0.1)
    pace.succeeded(now=10_000.0)
    assert 10.0 * FIRST_CUT < pace.per_second < 9.7


@given(rate=RATES, share=st.floats(min_value=0.0, max_value=1.0))
def test_rate_is_back_at_its_ceiling_in_time(rate: float, share: float):
    """Whatever rate was refused last, the ceiling is reached within the time that is promised, and never left."""
    pace, now = Pace(rate), 0.0
    while pace.per_second > rate * max(share, FLOOR):
        pace.throttled(sent_at=now, now=now + 0.05)
        now += 1.0
    ends_at, rates = now + SECONDS_TO_RECOVER, [pace.per_second]
    while pace.per_second < rate:
        now = pace.take(now)
        pace.succeeded(now + 0.01)
        rates.append(pace.per_second)
    assert rates == sorted(rates)
    assert now < ends_at + 2 / (rate * FLOOR)  # the first calls may be that far apart


@pytest.mark.parametrize(("is_cut", "ceiling", "expected"), [(False, 20.0, 20.0), (True, 20.0, 9.5), (True, 3.0, 3.0)])
def test_other_ceiling_holds_at_once(*, is_cut: bool, ceiling: float, expected: float):
    """A full rate follows its ceiling; one that gave way does not rise for it, and comes back to the new one."""
    pace = Pace(10.0)
    if is_cut:
        pace.throttled(sent_at=0.0, now=0.1)
    pace.limit(ceiling)
    assert pace.per_second == pytest.approx(expected)
    for second in range(60):
        pace.succeeded(now=1.0 + second)
    assert pace.per_second == ceiling


async def test_hour_of_crowded_calls_keeps_the_rate():
    """Callers in a crowd are served evenly, for an hour, without drift."""
    pace, moments = Pace(1.0), []

    async def call() -> None:
        moments.extend([await pace.wait() for _ in range(360)])

    begun_at = anyio.current_time()
    async with anyio.create_task_group() as callers:
        for _ in range(10):
            callers.start_soon(call)
    assert anyio.current_time() - begun_at == pytest.approx(3600, abs=1.1)
    moments.sort()
    assert min(after - before for before, after in pairwise(moments)) == pytest.approx(1.0)


@pytest.mark.parametrize("waiting", [1, 30])
async def test_closed_quota_that_opens_is_used_in_full_again_soon(waiting: int):
    """After minutes of throttling the rate is back at its ceiling within a minute, however many callers wait."""
    pace, opens_at = Pace(5.0), anyio.current_time() + 300
    recovered_at: list[float] = []

    async def call() -> None:
        while not recovered_at:
            sent_at = await pace.wait()
            await anyio.sleep(0.05)
            now = anyio.current_time()
            if now < opens_at:
                pace.throttled(sent_at, now)
            else:
                pace.succeeded(now)
            if now > opens_at and pace.per_second == pace.ceiling_per_second:
                recovered_at.append(now)

    async with anyio.create_task_group() as callers:
        for _ in range(waiting):
            callers.start_soon(call)
    assert recovered_at[0] - opens_at < 60


class SharedQuota:
    """A token bucket of AWS's, of which another tenant asks for half, unevenly, from `comes_at` to `leaves_at`."""

    def __init__(self, per_second: float, burst: float, comes_at: float, leaves_at: float, rng: random.Random) -> None:
        self._per_second, self._burst, self._tokens = per_second, burst, burst
        self._from, self._to = comes_at, leaves_at
        self._rng = rng
        self._filled_at = self._other_at = anyio.current_time()

    def grants(self) -> bool:
        """Whether a call may pass now, after those of the other tenant."""
        now = anyio.current_time()
        self._other_at = max(self._other_at, self._from)
        while self._other_at <= min(now, self._to):
            self._take(self._other_at)
            self._other_at += 2 / self._per_second * self._rng.uniform(0.5, 1.5)
        return self._take(now)

    def _take(self, now: float) -> bool:
        now = max(now, self._filled_at)
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        is_granted = self._tokens >= 1 - 1e-9
        self._tokens -= is_granted
        return is_granted


@dataclass
class Shared:
    """Moments of the calls that were granted and refused, of five minutes; a tenant was there in two of them."""

    granted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def count(self, start: float, end: float) -> tuple[int, int]:
        """How many were granted and refused between two moments."""
        granted, refused = (sum(start <= at < end for at in moments) for moments in (self.granted, self.refused))
        return granted, refused


async def shared(rate: float, burst: int, rng: random.Random, *, bunch: int = 1, pause_seconds: float = 0.0) -> Shared:
    """Call as the pace has it, or so many calls after each pause, for five minutes."""
    begun_at = anyio.current_time()
    pace, calls = Pace(rate), Shared()
    quota = SharedQuota(rate, burst, begun_at + 60, begun_at + 180, rng)

    async def call(sent_at: float) -> None:
        await anyio.sleep(0.01 + rng.uniform(0, 0.004))
        now = anyio.current_time()
        is_granted = quota.grants()
        (calls.granted if is_granted else calls.refused).append(now - begun_at)
        await anyio.sleep(0.005)
        if is_granted:
            pace.succeeded(anyio.current_time())
        else:
            pace.throttled(sent_at, anyio.current_time())

    async with anyio.create_task_group() as group:
        while anyio.current_time() < begun_at + 300:
            for _ in range(bunch):
                group.start_soon(call, await pace.wait())
            await anyio.sleep(pause_seconds * rng.uniform(0.6, 1.4))
    return calls


def seeded(count: int) -> Iterator[random.Random]:
    """So many sources of chance."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    yield from (random.Random(seed + n) for n in range(count))


@pytest.mark.parametrize(("rate", "burst", "count"), [(5.0, 2, 6), (5.0, 5, 6), (50.0, 2, 1)])
async def test_tenant_who_takes_half_is_given_way_to(rate: float, burst: int, count: int):
    """While another tenant asks for half few calls are refused; a minute after he left, all of the quota is used."""
    runs = [await shared(rate, burst, rng) for rng in seeded(count)]
    for run in runs:
        assert run.count(0, 60)[1] == 0
        assert run.count(0, 59)[0] >= 0.99 * rate * 59
        assert run.count(181, 300)[1] == 0
        assert run.count(240, 300)[0] >= 0.99 * rate * 60
    granted, refused = (sum(numbers) for numbers in zip(*(run.count(60, 180) for run in runs), strict=True))
    assert refused <= 0.06 * (granted + refused)
    assert granted >= 0.5 * len(runs) * rate / 2 * 120


async def test_few_calls_in_bunches_give_way_to_a_tenant_too():
    """Four calls at a time, an eighth of the quota in all, are spaced so that few are refused beside his half of it."""
    runs = [await shared(20.0, 2, rng, bunch=4, pause_seconds=1.6) for rng in seeded(6)]
    granted, refused = (sum(numbers) for numbers in zip(*(run.count(60, 180) for run in runs), strict=True))
    assert refused <= 0.05 * (granted + refused)
    assert granted > 6 * 120


@pytest.mark.parametrize("rate", [5.0, 50.0])
async def test_quota_that_is_a_little_lower_is_used_in_full(rate: float):
    """Where AWS grants nine tenths of what is configured, nearly all of them are used, and few calls are refused."""
    begun_at = anyio.current_time()
    pace, quota = Pace(rate), SharedQuota(0.9 * rate, 2, begun_at + 900, begun_at + 900, random.Random(0))
    granted = refused = 0
    while anyio.current_time() < begun_at + 100:
        sent_at = await pace.wait()
        if quota.grants():
            granted += 1
            pace.succeeded(anyio.current_time())
        else:
            refused += 1
            pace.throttled(sent_at, anyio.current_time())
    assert granted >= 0.99 * 0.9 * rate * 100
    assert refused <= 0.03 * granted


def test_few_refused_calls_of_many_cost_no_more_than_their_share():
    """Three calls of a hundred that come bunched leave the rate at what was granted meanwhile."""
    pace, now = Pace(100.0), 0.0
    for call in range(1, 400):
        now = pace.take(now)
        (pace.throttled if call % 33 == 0 and call > 200 else lambda _, at: pace.succeeded(at))(now, now)
    assert pace.per_second > 95.0


@pytest.mark.parametrize(("rate", "every", "least"), [(200.0, 300, 200.0), (200.0, 60, 100.0), (5.0, 300, 4.7)])
def test_strays_are_no_reason_to_give_way(rate: float, every: int, least: float):
    """One refusal of 300 calls leaves a fast pace alone; more of them do not, nor does a slow pace take one lightly."""
    pace, now, slowest = Pace(rate), 0.0, rate
    for call in range(1, 6001):
        now = pace.take(now)
        if call % every == 0:
            pace.throttled(now, now)
        else:
            pace.succeeded(now)
        slowest = min(slowest, pace.per_second)
    assert least <= slowest
    assert (slowest == rate) == (least == rate)


async def test_caller_that_goes_away_takes_no_moment():
    """A caller that is cancelled while it waits leaves its moment to the next one."""
    pace = Pace(1.0)
    begun_at = await pace.wait()
    with anyio.move_on_after(0.5):
        await pace.wait()
    assert await pace.wait() == pytest.approx(begun_at + 1.0)


async def test_lateness_is_made_up_for_as_far_as_calls_stay_apart(monkeypatch: pytest.MonkeyPatch):
    """On a busy loop who waits is woken late: a little costs nothing, and after a standstill there is no crowd."""
    pace, late_seconds, sleep = Pace(10.0), 0.05, anyio.sleep

    async def woken_late(at: float) -> None:
        await sleep(at - anyio.current_time() + late_seconds)

    monkeypatch.setattr(anyio, "sleep_until", woken_late)
    begun_at = await pace.wait()
    for _ in range(20):
        await pace.wait()
    assert anyio.current_time() - begun_at == pytest.approx(2.0 + late_seconds)
    late_seconds = 1.0
    await pace.wait()
    late_seconds, begun_at = 0.0, anyio.current_time()
    for _ in range(10):
        await pace.wait()
    assert anyio.current_time() - begun_at >= 0.9

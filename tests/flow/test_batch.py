"""Batches: nothing lost, doubled or reordered, whatever the timing."""

from __future__ import annotations

import random

import anyio
import pytest

from worker.flow.batch import batches


async def batched(
    gaps_seconds: list[float], *, size: int, apart_seconds: float, buffer: float, busy_seconds: float = 0.0
) -> list[list[int]]:
    """What comes out when item i is sent after the i-th gap, and each batch keeps whoever takes it for a while."""
    send, receive = anyio.create_memory_object_stream[int](buffer)
    got: list[list[int]] = []

    async def produce() -> None:
        async with send:
            for i, gap in enumerate(gaps_seconds):
                if gap:
                    await anyio.sleep(gap)
                await send.send(i)

    async with receive, anyio.create_task_group() as producers:
        producers.start_soon(produce)
        async for batch in batches(receive, size=size, apart_seconds=apart_seconds):
            got.append(batch)
            if busy_seconds:
                await anyio.sleep(busy_seconds)
    return got


async def test_batches_are_full_or_some_time_apart():
    """What comes after a silence goes at once; a crowd comes in full batches, and its stragglers after the time."""
    gaps = [0.0, 0.0, 0.0, 10.0, *[0.0] * 24]
    got = await batched(gaps, size=10, apart_seconds=0.5, buffer=100)
    assert [len(batch) for batch in got] == [1, 2, 1, 10, 10, 4]


async def test_what_comes_all_the_time_goes_together():
    """Items that keep trickling in do not put a batch off for ever."""
    got = await batched([0.3] * 10, size=100, apart_seconds=1.0, buffer=0)
    assert [len(batch) for batch in got] == [1, 3, 3, 3]


async def test_what_is_seldom_waits_for_nobody():
    """Items further apart than batches have to be are each yielded at the moment they come."""
    send, receive = anyio.create_memory_object_stream[float](0)
    late: list[float] = []

    async def produce() -> None:
        async with send:
            for _ in range(5):
                await anyio.sleep(1.1)
                await send.send(anyio.current_time())

    async with receive, anyio.create_task_group() as producers:
        producers.start_soon(produce)
        async for (sent_at,) in batches(receive, size=10, apart_seconds=1.0):
            late.append(anyio.current_time() - sent_at)
    assert len(late) == 5
    assert max(late) < 0.01


async def test_batch_is_full_by_what_its_items_weigh():
    """Heavy items make small batches; the one that fills a batch may be heavier than what is left of it."""
    send, receive = anyio.create_memory_object_stream[int](100)
    async with send:
        for weight in (1, 2, 4, 9, 30, 5, 5, 5):
            await send.send(weight)
    async with receive:
        got = [batch async for batch in batches(receive, size=10, apart_seconds=60.0, weigh=lambda weight: weight)]
    assert got == [[1, 2, 4, 9], [30], [5, 5], [5]]


async def test_whoever_is_slow_with_a_batch_has_a_large_one_next():
    """Time is counted from when the last batch was done with: there is more to gather, not less."""
    got = await batched([0.0, *[0.3] * 12], size=100, apart_seconds=1.0, buffer=0, busy_seconds=3.0)
    assert [len(batch) for batch in got] == [1, 4, 4, 4]


async def test_end_of_the_stream_ends_the_last_batch():
    """What was received before the stream ended is yielded at once."""
    begun_at = anyio.current_time()
    assert await batched([0.0] * 3, size=10, apart_seconds=60.0, buffer=0) == [[0], [1, 2]]
    assert anyio.current_time() - begun_at < 1


@pytest.mark.parametrize("buffer", [0, 16])
async def test_nothing_is_lost_or_reordered_whatever_the_timing(buffer: int):
    """With gaps around the time between batches every item comes out once and in order."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    gaps = [rng.choice([0.0, 0.0, 0.01, rng.uniform(0.0, 0.02)]) for _ in range(5000)]
    got = await batched(gaps, size=7, apart_seconds=0.01, buffer=buffer)
    assert [item for batch in got for item in batch] == list(range(5000))
    assert all(1 <= len(batch) <= 7 for batch in got)

"""Batches: nothing lost, doubled or reordered, whatever the timing."""

from __future__ import annotations

import random

import anyio
import pytest

from worker.flow.batch import batches


async def batched(gaps_seconds: list[float], *, size: int, linger_seconds: float, buffer: float) -> list[list[int]]:
    """What comes out when item i is sent after the i-th gap, and the stream is closed then."""
    send, receive = anyio.create_memory_object_stream[int](buffer)

    async def produce() -> None:
        async with send:
            for i, gap in enumerate(gaps_seconds):
                if gap:
                    await anyio.sleep(gap)
                await send.send(i)

    async with receive, anyio.create_task_group() as producers:
        producers.start_soon(produce)
        return [batch async for batch in batches(receive, size=size, linger_seconds=linger_seconds)]


async def test_batch_is_full_or_its_linger_is_over():
    """A crowd comes in full batches; a straggler waits no longer than the linger."""
    gaps = [0.0, 0.0, 0.0, 10.0, *[0.0] * 24]
    got = await batched(gaps, size=10, linger_seconds=0.5, buffer=100)
    assert [len(batch) for batch in got] == [3, 10, 10, 5]


async def test_linger_counts_from_the_first_item():
    """Items that keep trickling in do not put the batch off for ever."""
    got = await batched([0.3] * 10, size=100, linger_seconds=1.0, buffer=0)
    assert [len(batch) for batch in got] == [4, 4, 2]


async def test_end_of_the_stream_ends_the_last_batch():
    """What was received before the stream ended is yielded at once."""
    begun_at = anyio.current_time()
    assert await batched([0.0] * 3, size=10, linger_seconds=60.0, buffer=0) == [[0, 1, 2]]
    assert anyio.current_time() - begun_at < 1


@pytest.mark.parametrize("buffer", [0, 16])
async def test_nothing_is_lost_or_reordered_whatever_the_timing(buffer: int):
    """With gaps around the linger, where time-outs meet arrivals, every item comes out once and in order."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    gaps = [rng.choice([0.0, 0.0, 0.01, rng.uniform(0.0, 0.02)]) for _ in range(5000)]
    got = await batched(gaps, size=7, linger_seconds=0.01, buffer=buffer)
    assert [item for batch in got for item in batch] == list(range(5000))
    assert all(1 <= len(batch) <= 7 for batch in got)


async def test_nothing_is_lost_in_real_time():
    """The same on the real clock, where a time-out and an arrival may fall into one turn of the loop."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    gaps = [rng.choice([0.0, 0.0, 0.0, rng.uniform(0.0, 0.0005)]) for _ in range(2000)]
    got = await batched(gaps, size=7, linger_seconds=0.0003, buffer=0)
    assert [item for batch in got for item in batch] == list(range(2000))

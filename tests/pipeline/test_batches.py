"""Batches on the true clock, where a time-out and an arrival may fall into one turn of the loop."""

from __future__ import annotations

import random

import anyio

from worker.flow.batch import batches


async def test_nothing_is_lost_or_reordered():
    """With gaps around the time between batches, every item comes out once and in order."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    send, receive = anyio.create_memory_object_stream[int](0)

    async def produce() -> None:
        async with send:
            for i in range(2000):
                if gap := rng.choice([0.0, 0.0, 0.0, rng.uniform(0.0, 0.0005)]):
                    await anyio.sleep(gap)
                await send.send(i)

    async with receive, anyio.create_task_group() as producers:
        producers.start_soon(produce)
        got = [batch async for batch in batches(receive, size=7, apart_seconds=0.0003)]
    assert [item for batch in got for item in batch] == list(range(2000))
    assert all(1 <= len(batch) <= 7 for batch in got)

"""Streams: everything in its order, and what is there already without a pass of the event loop."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream

from worker.flow.pace import Pace
from worker.flow.stream import items_of, next_of


async def filled(count: int) -> MemoryObjectReceiveStream[int]:
    """A stream that has ended, with so many items in it."""
    send, receive = anyio.create_memory_object_stream[int](count)
    async with send:
        for number in range(count):
            await send.send(number)
    return receive


async def test_items_come_in_their_order_as_they_are_sent():
    """Those that are there, those that come later, and then the end."""
    send, receive = anyio.create_memory_object_stream[int](2)

    async def produce() -> None:
        async with send:
            for number in range(9):
                await send.send(number)
                await anyio.sleep(number % 3)

    async with receive, anyio.create_task_group() as producers:
        producers.start_soon(produce)
        assert [number async for number in items_of(receive)] == list(range(9))
        with pytest.raises(anyio.EndOfStream):
            await next_of(receive)


async def test_what_is_there_costs_no_pass_of_the_loop():
    """Another task, which wakes in each pass, does not wake while items are taken and calls are due."""
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            await checkpoint()
            passes += 1

    pace = Pace(0.5)
    async with await filled(50) as receive, anyio.create_task_group() as others:
        others.start_soon(count)
        await checkpoint()
        before = passes
        assert [number async for number in items_of(receive)] == list(range(50))
        await pace.wait()
        assert passes == before
        others.cancel_scope.cancel()

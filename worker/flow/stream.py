"""Takes what a stream brings without a pass of the event loop for what is there already.

In a busy loop a pass takes milliseconds, and a stream's own `receive` waits for one each time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

T = TypeVar("T")


async def items_of(stream: MemoryObjectReceiveStream[T]) -> AsyncIterator[T]:
    """Everything that the stream brings, until it ends."""
    while True:
        try:
            yield await next_of(stream)
        except anyio.EndOfStream:
            return


async def next_of(stream: MemoryObjectReceiveStream[T]) -> T:
    """The next item, waited for if there is none yet.

    Raises:
        anyio.EndOfStream: if the stream has ended.

    """
    try:
        return stream.receive_nowait()
    except anyio.WouldBlock:
        return await stream.receive()

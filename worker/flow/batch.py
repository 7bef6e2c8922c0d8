"""Groups what a stream brings: in full batches, or some time apart. Nothing is lost or reordered."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from worker.flow.stream import items_of, next_of

T = TypeVar("T")


async def batches(
    stream: MemoryObjectReceiveStream[T], *, size: int, apart_seconds: float, weigh: Callable[[T], int] = lambda _: 1
) -> AsyncIterator[list[T]]:
    """Yield lists of items that weigh `size` together, or fewer where the last batch was done with `apart_seconds` ago.

    What comes after a silence goes at once, and what comes all the time goes together: a fast lane's batches are large,
    and a slow one's make nobody wait.
    """
    next_at = -math.inf
    async for first in items_of(stream):
        batch, weight = [first], weigh(first)
        with suppress(anyio.EndOfStream), anyio.move_on_after(next_at - anyio.current_time()):
            while weight < size:
                batch.append(await next_of(stream))
                weight += weigh(batch[-1])
        yield batch
        next_at = anyio.current_time() + apart_seconds

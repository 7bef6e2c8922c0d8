"""Groups what a stream brings: by size or linger, whichever comes first. Nothing is lost or reordered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from worker.flow.stream import items_of, next_of

T = TypeVar("T")


async def batches(stream: MemoryObjectReceiveStream[T], *, size: int, linger_seconds: float) -> AsyncIterator[list[T]]:
    """Yield lists of 1 to `size` items, waiting at most `linger_seconds` after the first for more."""
    async for first in items_of(stream):
        batch = [first]
        with suppress(anyio.EndOfStream), anyio.move_on_after(linger_seconds):
            while len(batch) < size:
                batch.append(await next_of(stream))
        yield batch

"""Groups what a stream brings: by size or linger, whichever comes first. Nothing is lost or reordered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio.abc import ObjectReceiveStream

T = TypeVar("T")


async def batches(stream: ObjectReceiveStream[T], *, size: int, linger_seconds: float) -> AsyncIterator[list[T]]:
    """Yield lists of 1 to `size` items, waiting at most `linger_seconds` after the first for more."""
    async for first in stream:
        batch = [first]
        with suppress(anyio.EndOfStream), anyio.move_on_after(linger_seconds):
            while len(batch) < size:
                batch.append(await stream.receive())
        yield batch

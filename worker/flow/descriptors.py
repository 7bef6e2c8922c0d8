"""Reads and writes file descriptors without a thread: one that waits for a pipe or terminal could not be cancelled."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator

import anyio

BLOCK_BYTES = 1 << 20
PIECE_BYTES = 4096  # a pipe that is ready takes so many at once, without waiting


async def blocks(descriptor: int) -> AsyncIterator[bytes]:
    """What can be read, until its end."""
    has_to_wait = _has_to_wait(descriptor)
    while True:
        if has_to_wait:
            await anyio.wait_readable(descriptor)
        if not (block := os.read(descriptor, BLOCK_BYTES)):
            return
        yield block


async def send(descriptor: int, content: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: if nobody reads it any more, or there is no room.

    """
    has_to_wait = _has_to_wait(descriptor)
    left = memoryview(content)
    while left:
        if has_to_wait:
            await anyio.wait_writable(descriptor)
        left = left[os.write(descriptor, left[: PIECE_BYTES if has_to_wait else BLOCK_BYTES]) :]


def _has_to_wait(descriptor: int) -> bool:
    """Files and devices are ready at once, and cannot be waited for."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)

"""The bytes of made-up objects: noise of which any part is computed without the bytes before it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator

from anyio.lowlevel import checkpoint

_BLOCK_BYTES = 2**16  # 0.1 ms of computing: a large object leaves the event loop to others between two blocks


async def made_up_bytes(
    seed: int, key: str, version_id: str | None, first_byte: int, length_bytes: int
) -> AsyncGenerator[bytes, None]:
    """`length_bytes` bytes from `first_byte` on, which follow from (seed, key, version) and their place alone."""
    name = f"{seed}\0{key}\0{version_id}\0".encode()
    block, skipped = divmod(first_byte, _BLOCK_BYTES)
    while length_bytes > 0:
        end = min(_BLOCK_BYTES, skipped + length_bytes)
        yield hashlib.shake_128(name + str(block).encode()).digest(end)[skipped:]
        await checkpoint()
        length_bytes -= end - skipped
        block, skipped = block + 1, 0

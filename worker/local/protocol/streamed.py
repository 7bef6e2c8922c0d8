"""A body that is streamed: it can be larger than memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import web


class Streamed(web.StreamResponse):
    """Chunks as fast as the client takes them, of the length that the headers tell.

    Where the chunks break off, so does the connection: no client takes a part for the whole.
    """

    def __init__(self, status: int, headers: Mapping[str, str], chunks: AsyncGenerator[bytes, None]) -> None:
        super().__init__(status=status, headers=headers)
        self.chunks = chunks

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the chunks."""
        async with aclosing(self.chunks) as chunks:
            async for chunk in chunks:
                await self.write(chunk)
        await super().write_eof(data)

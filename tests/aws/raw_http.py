"""A server that answers every request with the same bytes, whatever they are, and notes what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LARGEST_REQUEST_BYTES = 2**20


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    """A response; its head says `length` where that is to differ from the truth."""
    told = len(body) if length is None else length
    lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % told, b"Connection: close", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class RawServer:
    """`url` is where it listens; `answer` may be changed at any time, `sent_bytes` is what clients took of it."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = b""
        self.sent_bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            await reader.readexactly(length)
            for start in range(0, len(self.answer), 65_536):
                writer.write(self.answer[start : start + 65_536])
                await writer.drain()
                self.sent_bytes += 65_536
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Run one on a free port."""
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, limit=LARGEST_REQUEST_BYTES)
    async with server:
        raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield raw

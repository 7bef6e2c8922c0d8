"""Requests as fast as a server takes them, from a process that does little else.

`python -m benchmarks.load < TASK` prints what it did as one JSON object. Every connection sends its next request when
it has the whole answer to the last one. Requests are whole before the clock runs; answers are counted, not looked at.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import deque
from itertools import cycle
from urllib.parse import urlsplit

from msgspec import Struct, json

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
NEXT_TOKEN = re.compile(rb'"NextToken":"([^"]+)"\}$')
LONGEST_TOKEN_BYTES = 300


class Task(Struct, frozen=True):
    """`requests` are sent in turn, over and over for so many seconds; `page_heads` each once, with its later pages.

    A page head is a request for the first page of a job: its headers, with `%d` in place of the length of its body, and
    the body without the closing brace.
    """

    url: str
    connections: int
    seconds: float
    requests: list[str] = []
    page_heads: list[tuple[str, str]] = []


class Done(Struct, frozen=True):
    """`seconds` of wall time from the first request to the last answer."""

    answers: int
    seconds: float
    body_bytes: int


class Repeating:
    """The same requests again and again until the time is over."""

    def __init__(self, task: Task) -> None:
        self._requests = cycle([request.encode() for request in task.requests])
        self._ends_at = time.monotonic() + task.seconds

    def after(self, answer: bytes, asked: tuple[str, str] | None) -> tuple[bytes, tuple[str, str] | None] | None:  # noqa: ARG002 (nothing follows from an answer)
        """The next request."""
        return (next(self._requests), None) if time.monotonic() < self._ends_at else None


class Reading:
    """Every job once from its first page to its last."""

    def __init__(self, task: Task) -> None:
        self._jobs = deque(task.page_heads)

    def after(self, answer: bytes, asked: tuple[str, str] | None) -> tuple[bytes, tuple[str, str] | None] | None:
        """The request for the job's next page, or for the first one of another job."""
        if asked and (token := NEXT_TOKEN.search(answer, max(0, len(answer) - LONGEST_TOKEN_BYTES))):
            return _page_request(asked, f',"NextToken":"{token[1].decode()}"}}'), asked
        if not self._jobs:
            return None
        job = self._jobs.popleft()
        return _page_request(job, "}"), job


def _page_request(job: tuple[str, str], end: str) -> bytes:
    head, body = job
    return (head % (len(body) + len(end)) + body + end).encode()


class Connection(asyncio.Protocol):
    """One connection; `closed` is done when it has nothing more to ask."""

    def __init__(self, source: Repeating | Reading) -> None:
        self._source = source
        self._asked: tuple[str, str] | None = None
        self._is_head = False
        self._received = bytearray()
        self._awaited_bytes: int | None = None
        self.answers = 0
        self.body_bytes = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask(b"")

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, then ask again."""
        self._received += data
        if self._awaited_bytes is None:
            self._awaited_bytes = self._length_bytes()
        if self._awaited_bytes is not None and len(self._received) >= self._awaited_bytes:
            answer = bytes(self._received) if self._asked else b""
            self.answers += 1
            self.body_bytes += self._awaited_bytes
            self._received.clear()
            self._awaited_bytes = None
            self._ask(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """The server must not be the one that leaves."""
        if not self.closed.done():
            self.closed.set_exception(error or EOFError())

    def _ask(self, answer: bytes) -> None:
        following = self._source.after(answer, self._asked)
        if following is None:
            self.closed.set_result(None)
            self._transport.close()
            return
        request, self._asked = following
        self._is_head = request.startswith(b"HEAD")
        self._transport.write(request)

    def _length_bytes(self) -> int | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise ValueError(bytes(self._received[:500]))
        length = CONTENT_LENGTH.search(self._received, 0, end + 2)
        return end + 4 + (0 if self._is_head or length is None else int(length[1]))


async def send(task: Task) -> Done:
    """Send until there is nothing left to send."""
    address = urlsplit(task.url)
    began_at = time.monotonic()
    source = Reading(task) if task.page_heads else Repeating(task)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Connection(source), address.hostname, address.port)
        for _ in range(task.connections)
    ]
    connections = [connection for _, connection in opened]
    await asyncio.gather(*(connection.closed for connection in connections))
    return Done(
        answers=sum(connection.answers for connection in connections),
        seconds=time.monotonic() - began_at,
        body_bytes=sum(connection.body_bytes for connection in connections),
    )


if __name__ == "__main__":
    print(json.encode(asyncio.run(send(json.decode(sys.stdin.buffer.read(), type=Task)))).decode())

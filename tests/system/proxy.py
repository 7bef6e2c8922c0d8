"""A TCP proxy between worker and PostgreSQL that loses answers, cuts, stalls and refuses, as networks and servers do.

Of the protocol it knows the frames of the server's messages, and when a transaction is over (PostgreSQL's manual,
"Message Flow"): an answer is lost only after the server has committed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")

BLOCK_BYTES = 65536
COMMAND_COMPLETE, READY_FOR_QUERY = b"C", b"Z"
IDLE = b"I"  # no transaction is open
WRITING = (b"INSERT", b"UPDATE", b"DELETE")
HEADER = struct.Struct("!cI")
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """What happens to the connections, as another thread than the loop's says; `url` is the server's by way of here."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._loop = asyncio.get_running_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = _set_event()
        self._is_refusing = False
        self._loses: Callable[[], bool] = lambda: False
        self._are_statements_lost = False
        self.port = 0
        self.lost = 0

    @property
    def url(self) -> str:
        """Where clients find it."""
        parts = urlsplit(self._server_url)
        netloc = f"{parts.username}@127.0.0.1:{self.port}"
        return parts._replace(netloc=netloc, query="sslmode=disable").geturl()

    def lose_commits(self, share: float, seed: int, *, of_statements: bool = False) -> None:
        """Lose that share of all answers to COMMIT; `of_statements` also to writing statements on their own."""
        rng = random.Random(seed)
        self._lose(lambda: rng.random() < share, of_statements=of_statements)

    def lose_next_commits(self, times: int, *, of_statements: bool = False) -> None:
        """Lose the next answers to COMMIT."""
        left = iter(range(times))
        self._lose(lambda: next(left, None) is not None, of_statements=of_statements)

    def lose_nothing(self) -> None:
        """Let every answer pass again."""
        self._lose(lambda: False, of_statements=False)

    def _lose(self, loses: Callable[[], bool], *, of_statements: bool) -> None:
        self._loses, self._are_statements_lost = loses, of_statements

    def cut(self) -> None:
        """Reset all connections."""
        self._in_loop(lambda: [connection.cancel() for connection in self._connections])

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections are accepted and kept, and nothing goes through, either way."""
        self._in_loop(self._flowing.clear)
        try:
            yield
        finally:
            self._in_loop(self._flowing.set)

    def forsake(self) -> None:
        """Nothing goes through the present connections ever again, and nobody says so; new ones are as usual."""

        def leave() -> None:
            self._flowing.clear()
            self._flowing = _set_event()

        self._in_loop(leave)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset all connections, and every new one as soon as it comes."""
        self._is_refusing = True
        self.cut()
        try:
            yield
        finally:
            self._is_refusing = False

    def _in_loop(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(timeout=10)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or it is cut."""
        connection = asyncio.current_task()
        assert connection
        self._connections.add(connection)
        try:
            if not self._is_refusing:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._connections.discard(connection)
            _reset(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flowing = self._flowing
        with suppress(OSError):
            await flowing.wait()
            server_reader, server_writer = await _connected(self._server_url)
            try:
                both = {
                    asyncio.create_task(self._requests(reader, server_writer, flowing)),
                    asyncio.create_task(self._answers(server_reader, writer, flowing)),
                }
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in both:
                        task.cancel()
                    await asyncio.gather(*both, return_exceptions=True)
            finally:
                server_writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await flowing.wait()
            server.write(block)
            await server.drain()

    async def _answers(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        """Hold what follows the end of a command until its transaction is known to be over, then pass or lose it."""
        held = b""
        was_idle = True
        while True:
            header = await server.readexactly(HEADER.size)
            kind, length = HEADER.unpack(header)
            message = header + await server.readexactly(length - 4)
            if held or kind == COMMAND_COMPLETE:
                held += message
            if kind == READY_FOR_QUERY:
                is_idle = message[-1:] == IDLE
                if held and is_idle and self._is_lost(held, is_statement=was_idle):
                    return
                was_idle = is_idle
            elif held:
                continue
            await flowing.wait()
            writer.write(held or message)
            held = b""
            await writer.drain()

    def _is_lost(self, answer: bytes, *, is_statement: bool) -> bool:
        tag = answer[HEADER.size : answer.index(b"\0", HEADER.size)]
        may_be_lost = tag == b"COMMIT" or (is_statement and self._are_statements_lost and tag.startswith(WRITING))
        is_lost = may_be_lost and self._loses()
        self.lost += is_lost
        return is_lost


@asynccontextmanager
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    """A proxy in this event loop, on a free port of 127.0.0.1."""
    proxy = Proxy(server_url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for connection in list(proxy._connections):
            connection.cancel()
        await server.wait_closed()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    port = query.get("port", [str(parts.port or 5432)])[0]
    if folder := query.get("host", [""])[0]:
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
    return await asyncio.open_connection(parts.hostname, int(port))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset and not the orderly end of a stream."""
    client: socket.socket | None = writer.get_extra_info("socket")
    if client is not None:
        with suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()

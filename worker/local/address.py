"""Where the service listens, and how others find it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from worker.config import split_address
from worker.errors import UsageError
from worker.local.state.database import Database

ANNOUNCEMENT = "local-service.json"


class Announcement(msgspec.Struct, frozen=True):
    """The content of `local-service.json` in the data folder, there while the service runs."""

    url: str
    pid: int


def listening_socket(listen: str, last_port: int | None) -> socket.socket:
    """Bind `host:port`; for port 0 the last port is tried first, so that a restarted service is found again.

    Raises:
        UsageError: the address cannot be listened at.

    """
    host, port = split_address(listen)
    if port == 0 and last_port is not None:
        try:
            return _bound(host, last_port)
        except OSError:
            pass  # another program has it by now
    try:
        return _bound(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"the local moderation service cannot listen at {listen} ({reason}); set local.listen"
        ) from None


def url_of(listening: socket.socket) -> str:
    """The base URL of what listens there."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def last_port(database: Database) -> int | None:
    """The port that the service had before."""
    rows = database.read("SELECT value FROM remembered WHERE name = 'port'")
    return int(rows[0][0]) if rows else None


async def remember_port(database: Database, listening: socket.socket) -> None:
    """Keep the port for the next start."""
    port = str(listening.getsockname()[1])
    await database.write(
        lambda connection: connection.execute("INSERT OR REPLACE INTO remembered VALUES ('port', ?)", (port,))
    )


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Say in the data folder where the service is; readers see the whole file or none."""
    announcement, draft = data_dir / ANNOUNCEMENT, data_dir / f"{ANNOUNCEMENT}.new"
    draft.write_bytes(msgspec.json.encode(Announcement(url, os.getpid())))
    draft.replace(announcement)
    try:
        yield
    finally:
        announcement.unlink(missing_ok=True)


def _bound(host: str, port: int) -> socket.socket:
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening

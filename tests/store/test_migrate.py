"""Migrations: each applied once, in order, however many start at once; other people's databases are refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.conftest import KINDS
from tests.postgres import drop_database, fresh_database
from worker.errors import DatabaseError
from worker.store.database import open_database
from worker.store.migrate import migrate, pending, refuse_other_schema, shipped

ROOT = Path(__file__).parent.parent.parent
VERSIONS = [migration.version for migration in shipped()]
STARTERS = 6


@pytest.fixture(params=KINDS)
def empty_url(
    request: pytest.FixtureRequest, portal: BlockingPortal, server_url: Callable[[str], str]
) -> Iterator[str]:
    """A database without any schema, on each kind of server in turn."""
    url = portal.call(fresh_database, server_url(request.param))
    yield url
    portal.call(drop_database, url)


@pytest.fixture
async def connection(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to an empty database."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


async def applied(connection: asyncpg.Connection) -> list[str]:
    """The versions in the order in which they were applied."""
    rows = await connection.fetch("select version from schema_migration order by applied_at")
    return [row["version"] for row in rows]


async def test_fresh_database_is_migrated_once(connection: asyncpg.Connection):
    """The first start applies every file in order; the second one finds nothing to do."""
    assert await migrate(connection, "default") == VERSIONS
    assert await migrate(connection, "default") == []
    assert await applied(connection) == VERSIONS
    await refuse_other_schema(connection, "default")


async def test_many_starters_apply_each_migration_once(empty_url: str, connection: asyncpg.Connection):
    """Six processes that start at once end well, and together apply every file once."""
    connections = [await asyncpg.connect(empty_url) for _ in range(STARTERS)]
    done = await asyncio.gather(*(migrate(each, "default") for each in connections))
    for each in connections:
        await each.close()
    assert sorted(done) == [*[[]] * (STARTERS - 1), VERSIONS]
    assert await applied(connection) == VERSIONS


async def test_starter_that_dies_leaves_a_database_that_the_next_one_finishes(
    connection: asyncpg.Connection, empty_url: str
):
    """A process cut off in the middle holds no lock; what it has applied is not applied again."""
    dying = await asyncpg.connect(empty_url)
    starting = asyncio.create_task(migrate(dying, "default"))
    async with asyncio.timeout(10):
        while not await connection.fetchval("select to_regclass('schema_migration') is not null"):
            await asyncio.sleep(0.001)
    dying.terminate()
    await asyncio.gather(starting, return_exceptions=True)
    await migrate(connection, "default")
    assert await applied(connection) == VERSIONS


async def test_edited_file_is_refused(connection: asyncpg.Connection):
    """A file that differs from the one that was applied is named, and nothing is applied."""
    await migrate(connection, "default")
    await connection.execute("update schema_migration set sha256 = 'other' where version = $1", VERSIONS[2])
    with pytest.raises(DatabaseError, match=f"{VERSIONS[2]} was edited after it was applied"):
        await migrate(connection, "default")


async def test_newer_database_is_refused(connection: asyncpg.Connection):
    """A program that is older than the database says which migration it does not know."""
    await migrate(connection, "default")
    await connection.execute("insert into schema_migration (version, sha256) values ('9999_future', 'any')")
    for attempt in (migrate, refuse_other_schema):
        with pytest.raises(DatabaseError, match="newer than this program: it has migration 9999_future"):
            await attempt(connection, "default")


async def test_older_database_is_refused_without_permission_to_migrate(connection: asyncpg.Connection):
    """A program that may not migrate tells how many migrations are missing and what to do."""
    await migrate(connection, "default")
    await connection.execute("delete from schema_migration where version = $1", VERSIONS[-1])
    assert [migration.version for migration in await pending(connection)] == VERSIONS[-1:]
    with pytest.raises(DatabaseError, match="lacks 1 of this program's migrations; run `modworker migrate`"):
        await refuse_other_schema(connection, "default")


async def test_other_deployment_is_refused_before_anything_is_changed(connection: asyncpg.Connection):
    """The deployment's name is fixed at the first migration; another one changes nothing, not even an older schema."""
    await migrate(connection, "default")
    await connection.execute("delete from schema_migration where version = $1", VERSIONS[-1])
    with pytest.raises(DatabaseError, match="belongs to deployment 'default', the config file says 'other'"):
        await migrate(connection, "other")
    assert await applied(connection) == VERSIONS[:-1]


async def test_refused_migration_is_told_in_a_sentence_and_can_be_repeated(connection: asyncpg.Connection):
    """A migration that fails names itself and leaves those before it; once the cause is gone it goes through."""
    await connection.execute("create view video_status as select 1 as other")
    with pytest.raises(DatabaseError, match=r'migration 0006_views cannot be applied: .*"video_status"'):
        await migrate(connection, "default")
    assert await applied(connection) == VERSIONS[:5]
    await connection.execute("drop view video_status")
    assert await migrate(connection, "default") == VERSIONS[5:]


async def test_database_is_opened_only_when_it_can_serve(empty_url: str):
    """Without permission an empty database is refused; with it, it is brought up to date and opened."""
    with pytest.raises(DatabaseError, match=f"lacks {len(VERSIONS)} of this program's migrations"):
        async with open_database(empty_url, deployment="default", may_migrate=False, pool_size=2):
            pass
    async with open_database(empty_url, deployment="default", may_migrate=True, pool_size=2) as database:
        assert await database.is_reachable()


def test_migrations_are_numbered_without_gaps_and_say_why():
    """Files are numbered from 1 on, and begin with a comment."""
    assert [int(version[:4]) for version in VERSIONS] == list(range(1, len(VERSIONS) + 1))
    assert all(migration.sql.startswith("-- ") for migration in shipped())


def test_migrations_travel_in_the_wheel(tmp_path: Path):
    """An installed program finds the same files inside its package."""
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv is not installed")
    build = [uv, "build", "--wheel", "-o", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    files = {path.name: path.read_bytes() for path in (ROOT / "migrations").glob("*.sql")}
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("worker/migrations/")]
        assert {Path(name).name: archive.read(name) for name in names} == files

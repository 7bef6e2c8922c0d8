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
from worker.store.migrate import (
    Migration,
    migrate,
    migrations_in,
    pending,
    refuse_newer_schema,
    refuse_other_schema,
    shipped,
)

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


def program(folder: Path, *serves: int | None) -> list[Migration]:
    """The migrations of a made-up program: one that makes the books, then one for each number that it serves."""
    files = {"0001_first": "-- The books.\ncreate table deployment (name text unique not null);"}
    for number, served in enumerate(serves, start=2):
        line = "" if served is None else f"-- serves: {served:04}\n"
        files[f"{number:04}_made_up"] = f"-- Made up.\n{line}create table made_up_{number} ();"
    folder.mkdir()
    for name, sql in files.items():
        (folder / f"{name}.sql").write_text(sql)
    return migrations_in(folder)


async def test_old_program_goes_on_where_every_newer_migration_serves_it(
    tmp_path: Path, connection: asyncpg.Connection
):
    """A program that meets migrations it does not know works on if they declare so, and applies nothing."""
    old, new = program(tmp_path / "old", None), program(tmp_path / "new", None, 2, 1)
    assert [migration.serves for migration in new] == [1, 2, 2, 1]
    await migrate(connection, "default", old)
    assert await migrate(connection, "default", new) == ["0003_made_up", "0004_made_up"]
    assert await migrate(connection, "default", old) == []
    assert await pending(connection, old) == []
    await refuse_other_schema(connection, "default", old)
    await refuse_newer_schema(connection, old)


@pytest.mark.parametrize("serves", [(3, 4), (None, 2), (2, None)], ids=str)
async def test_old_program_is_refused_where_one_newer_migration_does_not_serve_it(
    tmp_path: Path, connection: asyncpg.Connection, serves: tuple[int | None, ...]
):
    """One migration that needs a newer program is enough; the sentence tells which migration that program must know."""
    old, new = program(tmp_path / "old", None), program(tmp_path / "new", None, *serves)
    await migrate(connection, "default", new)
    needed = max(migration.serves for migration in new)
    sentence = f"has migration 0004_made_up, and needs a program that knows migration {needed:04} .this one knows 0002."
    for attempt in (migrate, refuse_other_schema):
        with pytest.raises(DatabaseError, match=sentence):
            await attempt(connection, "default", old)
    with pytest.raises(DatabaseError, match=sentence):
        await refuse_newer_schema(connection, old)


async def test_unknown_migration_among_its_own_is_refused(tmp_path: Path, connection: asyncpg.Connection):
    """A migration that should be known by its number, and is not, is another program's: it is never passed over."""
    own = program(tmp_path / "own", None, 1)
    other = [own[0], Migration("0002_of_another_program", "-- Other.\n-- serves: 0001\ncreate table other ();")]
    await migrate(connection, "default", other)
    with pytest.raises(DatabaseError, match="it has migration 0002_of_another_program"):
        await migrate(connection, "default", own)


async def test_database_of_programs_that_declared_nothing_is_read(tmp_path: Path, connection: asyncpg.Connection):
    """Books from before the declarations lack their column: what is unknown there serves nobody but its own program."""
    old, new = program(tmp_path / "old", None), program(tmp_path / "new", None, 2)
    await migrate(connection, "default", new)
    await connection.execute("alter table schema_migration drop column serves")
    await refuse_other_schema(connection, "default", new)
    with pytest.raises(DatabaseError, match="needs a program that knows migration 0003"):
        await refuse_other_schema(connection, "default", old)
    assert await migrate(connection, "default", new) == []


@pytest.mark.parametrize("served", [2, None])
async def test_old_and_new_program_that_migrate_at_once_agree(
    tmp_path: Path, empty_url: str, connection: asyncpg.Connection, served: int | None
):
    """Whoever comes first, every file is applied once; an old program that is not served is refused after it."""
    old, new = program(tmp_path / "old", None), program(tmp_path / "new", None, served)
    connections = [await asyncpg.connect(empty_url) for _ in range(STARTERS)]
    starts = [migrate(each, "default", (old, new)[i % 2]) for i, each in enumerate(connections)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    for each in connections:
        await each.close()
    assert sorted(version for o in outcomes if isinstance(o, list) for version in o) == [m.version for m in new]
    assert await applied(connection) == [migration.version for migration in new]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(refusal, DatabaseError) for refusal in refusals), refusals
    assert all(isinstance(outcome, list) for outcome in outcomes[1::2])
    assert served is None or not refusals


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


def test_migrations_declare_whom_they_serve():
    """From 0007 on each says in its second line whom it serves, which is no program newer than itself."""
    declaring = [migration for migration in shipped() if migration.number > 6]
    assert all(migration.sql.splitlines()[1].startswith("-- serves: ") for migration in declaring)
    assert all(migration.serves <= migration.number for migration in shipped())


def test_migrations_and_pages_travel_in_the_wheel(tmp_path: Path):
    """An installed program finds the same files inside its package, the licences of others beside what is theirs."""
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
        pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "worker/web/files").rglob("*") if path.is_file()}
        assert "worker/web/files/vendor/uplot/LICENSE" in pages
        assert pages <= set(archive.namelist())

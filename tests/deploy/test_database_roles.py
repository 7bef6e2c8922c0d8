"""deploy/postgres/roles.sql on real servers: the owner migrates, the worker changes rows, the reader reads views.

Roles belong to a server that other test processes share, so every test has roles of its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.conftest import DEPLOYMENT, KINDS
from tests.postgres import PROGRAMS, connected, drop_database, fresh_database
from tests.store.steps import Steps
from worker.store.database import SQL, open_database

FILE = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"
VIEWS = ("moderation_labels", "video_labels", "video_status")
PLANS_WITHOUT_VALUES = 16  # the major version of PostgreSQL that began to
OF_OTHERS = """
select relname from pg_class where relnamespace = 'public'::regnamespace and relowner <> current_user::regrole
"""
LIMITS = ("default_transaction_read_only", "statement_timeout", "idle_in_transaction_session_timeout", "search_path")
BEYOND_THE_WORKER = (
    "create table mine (id int)",
    "create schema mine",
    "create role mine",
    "create index mine on video (key)",
    "create function mine() returns int language sql as 'select 1'",
    "create or replace view video_status as select 1 as mine",
    "alter table video add column mine int",
    "drop table detection",
    "drop view video_status",
    "truncate detection",
    "insert into schema_migration (version, sha256) values ('9999_mine', '')",
    "update deployment set name = 'another'",
    "insert into deployment (name) values ('another')",
    "delete from deployment",
    "update audit set who = 'nobody'",
    "delete from audit",
    "select * from pg_authid",
    "copy video to program 'cat'",
)
BEYOND_THE_READER = (
    *BEYOND_THE_WORKER,
    "create temporary table mine (id int)",
    "insert into audit (who, action) values ('nobody', 'mine')",
    "delete from detection",
    "select nextval('video_claim_order')",
)


@dataclass(frozen=True, slots=True)
class Roles:
    """One database, and the names of the roles that the file makes for it."""

    database_url: str
    owner: str
    worker: str
    reader: str

    def url(self, role: str) -> str:
        """The database as that role sees it."""
        parts = urlsplit(self.database_url)
        return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()

    async def apply(self, as_role: str | None = None) -> None:
        """Run the file as README.md says, by default as the superuser."""
        names = [f"--set={kind}={getattr(self, kind)}" for kind in ("owner", "worker", "reader")]
        url = self.url(as_role) if as_role else self.database_url
        process = await asyncio.create_subprocess_exec(
            PROGRAMS / "psql", "--no-psqlrc", "--quiet", *names, f"--file={FILE}", f"--dbname={url}",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert (process.returncode, said.decode()) == (0, "")

    async def migrate(self) -> None:
        """What `modworker migrate` does, as the owner."""
        async with open_database(self.url(self.owner), deployment=DEPLOYMENT, may_migrate=True, pool_size=2):
            pass


async def drop_roles(database_url: str, *names: str) -> None:
    """Drop roles, those that exist, in this order; what they own in the database becomes the superuser's."""
    async with connected(database_url) as superuser:
        rows = await superuser.fetch("select rolname from pg_roles where rolname = any($1)", names)
        found = sorted((name for (name,) in rows), key=names.index)
        for name in found:
            await superuser.execute(f'reassign owned by "{name}" to current_user; drop owned by "{name}"')
        for name in found:
            await superuser.execute(f'drop role "{name}"')


@asynccontextmanager
async def named(database_url: str) -> AsyncIterator[Roles]:
    """Names that nobody else uses; the roles are dropped afterwards."""
    mark = uuid.uuid4().hex[:12]
    roles = Roles(database_url, f"owner-{mark}", f"worker-{mark}", f"reader-{mark}")
    try:
        yield roles
    finally:
        await drop_roles(database_url, roles.reader, roles.worker, roles.owner, f"stranger-{mark}", f"admin-{mark}")


@pytest.fixture
async def roles(any_database_url: str) -> AsyncIterator[Roles]:
    """The file applied to a database that the superuser has migrated, twice."""
    async with named(any_database_url) as roles:
        await roles.apply()
        await roles.apply()
        yield roles


@pytest.fixture(params=KINDS)
async def unused(request: pytest.FixtureRequest, server_url: Callable[[str], str]) -> AsyncIterator[Roles]:
    """Names of roles for a database without any schema, on each kind of server in turn."""
    url = await fresh_database(server_url(request.param))
    async with named(url) as roles:
        yield roles
    await drop_database(url)


async def whole_way(roles: Roles) -> None:
    """Bring videos from their registration to their labels as the worker, and check the books."""
    async with open_database(
        roles.url(roles.worker), deployment=DEPLOYMENT, may_migrate=False, pool_size=2
    ) as database:
        steps = Steps(database)
        owner, backfill = await steps.own(), await steps.backfill(budget_usd=100.0)
        await steps.done(owner, backfill, ["a.mp4", "b.mp4"])
        await steps.running(owner, backfill, ["c.mp4"])
        assert await steps.registry.pause(backfill.name, "to look")
        await steps.leases.release(owner)
        assert await steps.states(backfill) == ["done", "done", "active"]
        assert await steps.reports.verify(None) == (3, [])


async def allowed(url: str, statements: Iterable[str]) -> list[str]:
    """The statements that were not refused for want of a right; each is undone."""
    gone_through = []
    async with connected(url) as connection:
        for statement in statements:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                pass
            else:
                gone_through.append(statement)
            finally:
                await transaction.rollback()
    return gone_through


async def test_worker_goes_the_whole_way_of_a_video(roles: Roles):
    """Registration, claim, intent, start, notice, pages, settling and the check of the books need no right more."""
    await whole_way(roles)


async def test_worker_has_the_rights_that_every_statement_needs(roles: Roles):
    """Each of the program's statements is planned, with which its rights are checked, as the worker."""
    refused = {}
    async with connected(roles.url(roles.worker)) as connection:
        if connection.get_server_version().major < PLANS_WITHOUT_VALUES:
            pytest.skip("this server plans no statement without values")
        await connection.execute(SQL["make_staging"].replace("on commit drop", ""))
        for name in SQL.keys() - {"make_staging", "take_as_long_as_it_takes"}:
            try:
                await connection.execute(f"explain (generic_plan) {SQL[name]}")
            except asyncpg.InsufficientPrivilegeError as error:
                refused[name] = str(error)
    assert refused == {}


async def test_worker_changes_rows_and_nothing_else(roles: Roles):
    """Tables, roles, the list of migrations and the decisions that were written down are out of the worker's reach."""
    assert await allowed(roles.url(roles.worker), BEYOND_THE_WORKER) == []


async def test_reader_sees_the_public_views_and_no_table(roles: Roles):
    """What the views say is there, whole; every table is refused, for reading and for writing."""
    await whole_way(roles)
    async with connected(roles.url(roles.reader)) as reader:
        seen = {view: await reader.fetchval(f"select count(*) from {view}") for view in VIEWS}
        tables = await reader.fetch("select tablename from pg_tables where schemaname = 'public'")
        limits = [await reader.fetchval(f"show {name}") for name in LIMITS]
    assert seen == {"moderation_labels": 6, "video_labels": 4, "video_status": 3}
    assert limits == ["on", "1min", "1min", "public, pg_temp"]
    assert len(tables) > 10
    assert await allowed(roles.url(roles.reader), [f'select from "{name}"' for (name,) in tables]) == []


async def test_reader_writes_nothing_even_where_it_asks_to(roles: Roles):
    """That its sessions are read-only is a limit it may lift; what it may not do, it may not do then either."""
    writing = [f"set local transaction_read_only = off; {statement}" for statement in BEYOND_THE_READER]
    assert await allowed(roles.url(roles.reader), writing) == []


async def test_strangers_do_not_come_in(roles: Roles):
    """A role of the same server that was given nothing cannot connect to this database."""
    stranger = roles.owner.replace("owner", "stranger")
    async with connected(roles.database_url) as superuser:
        await superuser.execute(f'create role "{stranger}" login')
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(roles.url(stranger))


async def test_owner_takes_over_what_was_migrated_before(roles: Roles):
    """Tables, views and sequences that somebody else made are the owner's to change."""
    async with connected(roles.url(roles.owner)) as owner:
        await owner.execute("alter table video add column mine int")
        await owner.execute("alter sequence video_claim_order cycle")
        await owner.execute("drop view video_labels")
        others = await owner.fetch(OF_OTHERS)
    assert others == []


async def test_tables_of_later_migrations_are_covered(unused: Roles):
    """Roles first, then the migrations: the worker works at once, the reader when the file was applied again."""
    await unused.apply()
    await unused.migrate()
    await whole_way(unused)
    assert await allowed(unused.url(unused.reader), ["select from video_status"]) == []
    await unused.apply()
    assert await allowed(unused.url(unused.reader), ["select from video_status"]) == ["select from video_status"]
    assert await allowed(unused.url(unused.worker), BEYOND_THE_WORKER) == []


async def test_an_administrator_who_is_no_superuser_can_apply_it(unused: Roles):
    """As on a managed service: the database's owner, with the right to make roles, and with tables of its own there."""
    admin = unused.owner.replace("owner", "admin")
    async with connected(unused.database_url) as superuser:
        await superuser.execute(f'create role "{admin}" login createrole')
        await superuser.execute(f'alter database "{urlsplit(unused.database_url).path[1:]}" owner to "{admin}"')
    async with open_database(unused.url(admin), deployment=DEPLOYMENT, may_migrate=True, pool_size=2):
        pass
    await unused.apply(as_role=admin)
    await unused.apply(as_role=admin)
    await unused.migrate()
    await whole_way(unused)
    assert await allowed(unused.url(unused.worker), BEYOND_THE_WORKER) == []


async def test_backup_is_restored_with_roles(server_url: Callable[[str], str], tmp_path: Path):
    """By the steps of docs/how-to/restore-a-backup.md: the books are true, and each role may do what it may."""
    server = server_url(KINDS[0])
    lost, restored = await fresh_database(server), await fresh_database(server)
    dump = tmp_path / "modworker.dump"
    async with named(lost) as before:
        await before.apply()
        await before.migrate()
        await whole_way(before)
        await ran("pg_dump", f"--dbname={lost}", "--format=custom", f"--file={dump}")
        after = replace(before, database_url=restored)
        await ran("pg_restore", "--no-owner", "--no-privileges", f"--dbname={restored}", dump)
        await after.apply()
        await after.migrate()
        await after.apply()
        async with open_database(
            after.url(after.worker), deployment=DEPLOYMENT, may_migrate=False, pool_size=2
        ) as database:
            assert await Steps(database).reports.verify(None) == (3, [])
        assert await allowed(after.url(after.worker), BEYOND_THE_WORKER) == []
        assert await allowed(after.url(after.reader), ["select from video_status"]) == ["select from video_status"]
        await drop_database(restored)
    await drop_database(lost)


async def ran(program: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs to its end."""
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert (process.returncode, said.decode()) == (0, "")

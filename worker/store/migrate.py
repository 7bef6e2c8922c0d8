"""Applies the numbered SQL files of `migrations/`, each once and in order, however many processes start at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg

from worker.errors import DatabaseError

_LOCK = 0x6D6F64776F726B72  # "modworkr": any number that nobody else locks
_POLL_SECONDS = 0.1

_BOOKS = """
create table if not exists schema_migration (
  version text primary key,
  sha256 text not null,
  applied_at timestamptz not null default clock_timestamp()
)
"""
_RECORD = "insert into schema_migration (version, sha256) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is its name without the ending."""

    version: str
    sql: str

    @property
    def sha256(self) -> str:
        """Proves that the file is the one that was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> list[Migration]:
    """The program's own migrations: inside the package once installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    folder = next(path for path in (package / "migrations", package.parent / "migrations") if path.is_dir())
    return [Migration(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.sql"))]


async def pending(connection: asyncpg.Connection) -> list[Migration]:
    """The migrations that the database lacks.

    Raises:
        DatabaseError: if the database is newer than the program, or a file was edited after it was applied.

    """
    migrations = shipped()
    if not await connection.fetchval("select to_regclass('schema_migration') is not null"):
        return migrations
    rows = await connection.fetch("select version, sha256 from schema_migration order by version")
    applied = {row["version"]: row["sha256"] for row in rows}
    if unknown := sorted(set(applied) - {migration.version for migration in migrations}):
        raise DatabaseError(
            f"the database is newer than this program: it has migration {unknown[-1]}; install the newer modworker"
        )
    for migration in migrations:
        if applied.get(migration.version, migration.sha256) != migration.sha256:
            raise DatabaseError(
                f"migration {migration.version} was edited after it was applied to this database; restore the file"
            )
    return [migration for migration in migrations if migration.version not in applied]


async def migrate(connection: asyncpg.Connection, deployment: str) -> list[str]:
    """Apply what is missing and return its versions; fix the deployment's name at the first time.

    The lock is polled: a blocked pg_advisory_lock() would hold a snapshot, on which CREATE INDEX CONCURRENTLY waits.

    Raises:
        DatabaseError: if the database is newer, belongs to another deployment, or refuses a migration.

    """
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 (the event is in the database)
        await anyio.sleep(_POLL_SECONDS)
    try:
        await connection.execute(_BOOKS)
        missing = await pending(connection)
        await _refuse_other_deployment(connection, deployment)
        for migration in missing:
            await _apply(connection, migration)
        await connection.execute("insert into deployment (name) values ($1) on conflict do nothing", deployment)
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)
    return [migration.version for migration in missing]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(_RECORD, migration.version, migration.sha256)
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"migration {migration.version} cannot be applied: {error}") from error


async def refuse_other_schema(connection: asyncpg.Connection, deployment: str) -> None:
    """Let only a database through that this program can work on.

    Raises:
        DatabaseError: if migrations are missing, it is newer, or it belongs to another deployment.

    """
    if missing := await pending(connection):
        raise DatabaseError(
            f"the database lacks {len(missing)} of this program's migrations; run `modworker migrate`, "
            "or set database.migrate = true"
        )
    await _refuse_other_deployment(connection, deployment)


async def _refuse_other_deployment(connection: asyncpg.Connection, deployment: str) -> None:
    if not await connection.fetchval("select to_regclass('deployment') is not null"):
        return
    name = await connection.fetchval("select name from deployment")
    if name not in (None, deployment):
        raise DatabaseError(f"the database belongs to deployment {name!r}, the config file says {deployment!r}")

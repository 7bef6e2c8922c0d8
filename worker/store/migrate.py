"""Applies the numbered SQL files of `migrations/`, each once and in order, however many processes start at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from worker.errors import DatabaseError

Connection = asyncpg.Connection | PoolConnectionProxy

OLDEST_SERVER = 15  # the first one that knows `unique nulls not distinct`

_LOCK = 0x6D6F64776F726B72  # "modworkr": any number that nobody else locks
_POLL_SECONDS = 0.1

_BOOKS = """
create table if not exists schema_migration (
  version text primary key,
  sha256 text not null,
  applied_at timestamptz not null default clock_timestamp()
);
alter table schema_migration add column if not exists serves integer;
"""
_RECORD = "insert into schema_migration (version, sha256, serves) values ($1, $2, $3)"
# A database that only older programs have migrated lacks the column `serves`.
_APPLIED = (
    "select version, sha256, (to_jsonb(m) ->> 'serves')::integer as serves from schema_migration m order by version"
)
_SERVES = re.compile(r".*\n-- serves: (\d{4})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is its name without the ending, which begins with its number."""

    version: str
    sql: str

    @property
    def number(self) -> int:
        """Its place in the order of migrations."""
        return _number_of(self.version)

    @property
    def serves(self) -> int:
        """The newest migration known to the oldest program that works on the schema after this one.

        Declared in the second line as `-- serves: NNNN`; without that, it is the migration itself.
        """
        declared = _SERVES.match(self.sql)
        return int(declared[1]) if declared else self.number

    @property
    def sha256(self) -> str:
        """Proves that the file is the one that was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_in(folder: Path) -> list[Migration]:
    """The migrations of a folder, in their order."""
    return [Migration(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.sql"))]


def shipped() -> list[Migration]:
    """The program's own migrations: inside the package once installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    return migrations_in(next(p for p in (package / "migrations", package.parent / "migrations") if p.is_dir()))


async def pending(connection: Connection, own: Sequence[Migration] | None = None) -> list[Migration]:
    """The migrations of a program (this one's, unless others are given) that the database lacks.

    Raises:
        DatabaseError: if the database is too new for the program, or a file was edited after it was applied.

    """
    migrations = shipped() if own is None else own
    applied = await _applied(connection)
    _refuse_too_new(applied, migrations)
    for migration in migrations:
        if migration.version in applied and applied[migration.version]["sha256"] != migration.sha256:
            raise DatabaseError(
                f"migration {migration.version} was edited after it was applied to this database; restore the file"
            )
    return [migration for migration in migrations if migration.version not in applied]


async def _applied(connection: Connection) -> dict[str, asyncpg.Record]:
    if not await connection.fetchval("select to_regclass('schema_migration') is not null"):
        return {}
    return {row["version"]: row for row in await connection.fetch(_APPLIED)}


def _refuse_too_new(applied: dict[str, asyncpg.Record], own: Sequence[Migration]) -> None:
    """Go on over migrations that came later, if each of them declares that it serves this program still."""
    newest = own[-1].number
    unknown = sorted(set(applied) - {migration.version for migration in own})
    needed = {version: applied[version]["serves"] or _number_of(version) for version in unknown}
    if any(_number_of(version) <= newest or needed[version] > newest for version in unknown):
        raise DatabaseError(
            f"the database is newer than this program: it has migration {unknown[-1]}, and needs a program that knows "
            f"migration {max(needed.values()):04} (this one knows {newest:04}); install the newer modworker"
        )


def _number_of(version: str) -> int:
    return int(version[:4])


async def migrate(connection: Connection, deployment: str, own: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing and return its versions; fix the deployment's name at the first time.

    The lock is polled: a blocked pg_advisory_lock() would hold a snapshot, on which CREATE INDEX CONCURRENTLY waits.

    Raises:
        DatabaseError: if the database is too new, belongs to another deployment, or refuses a migration.

    """
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 (the event is in the database)
        await anyio.sleep(_POLL_SECONDS)
    try:
        await connection.execute(_BOOKS)
        missing = await pending(connection, own)
        await _refuse_other_deployment(connection, deployment)
        for migration in missing:
            await _apply(connection, migration)
        await connection.execute("insert into deployment (name) values ($1) on conflict do nothing", deployment)
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)
    return [migration.version for migration in missing]


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(_RECORD, migration.version, migration.sha256, migration.serves)
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"migration {migration.version} cannot be applied: {error}") from error


def refuse_old_server(version: asyncpg.types.ServerVersion) -> None:
    """Say so before a migration fails on a word that the server does not know.

    Raises:
        DatabaseError: if the server is older than the migrations.

    """
    if version.major < OLDEST_SERVER:
        raise DatabaseError(
            f"the database's server is PostgreSQL {version.major}.{version.minor}, this program needs {OLDEST_SERVER} "
            "or newer; upgrade the server"
        )


async def refuse_other_schema(connection: Connection, deployment: str, own: Sequence[Migration] | None = None) -> None:
    """Let only a database through that this program can work on.

    Raises:
        DatabaseError: if migrations are missing, it is too new, or it belongs to another deployment.

    """
    if missing := await pending(connection, own):
        raise DatabaseError(
            f"the database lacks {len(missing)} of this program's migrations; run `modworker migrate`, "
            "or set database.migrate = true"
        )
    await _refuse_other_deployment(connection, deployment)


async def refuse_newer_schema(connection: Connection, own: Sequence[Migration] | None = None) -> None:
    """Let a program that runs go on, unless its database was migrated to what does not serve it.

    Raises:
        DatabaseError: if it was.

    """
    _refuse_too_new(await _applied(connection), shipped() if own is None else own)


async def _refuse_other_deployment(connection: Connection, deployment: str) -> None:
    if not await connection.fetchval("select to_regclass('deployment') is not null"):
        return
    name = await connection.fetchval("select name from deployment")
    if name not in (None, deployment):
        raise DatabaseError(
            f"the database belongs to deployment {name!r}, the config file says {deployment!r}; "
            "write its name, or use another database"
        )

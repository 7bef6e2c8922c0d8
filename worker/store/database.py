"""The connection pool, the named statements, and the patience with a database that is away for a while."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import asyncpg
import stamina
import structlog
from asyncpg.pool import PoolConnectionProxy

from worker.config import masked_url
from worker.errors import DatabaseError
from worker.failpoints import around, passing
from worker.store import migrate

P = ParamSpec("P")
T = TypeVar("T")
Connection = asyncpg.Connection | PoolConnectionProxy

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 120

log = structlog.get_logger()

TRANSIENT: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What passes when the database is back: every unit of work against it is repeated after these."""


def _read_statements() -> dict[str, str]:
    statements: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / "queries").glob("*.sql")):
        _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
        statements.update(zip(parts[::2], parts[1::2], strict=True))
    return statements


SQL = _read_statements()
"""Every statement of queries/*.sql by its name."""


def is_transient(error: Exception) -> bool:
    """True for what passes; a value that cannot be sent is an InterfaceError and a ValueError, and never passes."""
    return isinstance(error, TRANSIENT) and not isinstance(error, ValueError)


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot keep: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def patient(work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Repeat a unit of work, which must be harmless to repeat, until the database answers."""

    @functools.wraps(work)
    async def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        async for attempt in stamina.retry_context(
            on=is_transient, attempts=None, timeout=None, wait_initial=0.05, wait_max=5.0, wait_jitter=0.2
        ):
            with attempt:
                return await work(*args, **kwargs)
        raise AssertionError("unreachable")  # pragma: no cover

    return repeated


@asynccontextmanager
async def transaction(connection: Connection, name: str, *, may_be_lost: bool = False) -> AsyncIterator[None]:
    """One transaction on a connection; `may_be_lost` lets the commit return before it is on disk.

    Its name is that of the failpoints before and after its commit.
    """
    async with connection.transaction():
        if may_be_lost:
            await connection.execute("set local synchronous_commit = off")
        yield
        passing(f"{name}: before")
    passing(f"{name}: after")


class Database:
    """A pool of connections to one database that this program may work on."""

    def __init__(self, pool: asyncpg.Pool, url: str) -> None:
        self.pool = pool
        self.url = url

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Connection]:
        """One transaction on a connection of the pool; its name is that of the failpoints around its commit."""
        async with self.pool.acquire() as connection, transaction(connection, name):
            yield connection

    async def commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """A named statement that is a transaction of its own."""
        with around(statement):
            return await self.pool.fetch(SQL[statement], *arguments)

    async def is_reachable(self) -> bool:
        """True when a statement gets through."""
        return bool(await self.pool.fetchval("select true"))


async def connect(url: str) -> asyncpg.Connection:
    """One connection outside the pool.

    Raises:
        DatabaseError: if the server cannot be reached or refuses; in one sentence, without the password.

    """
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings={"application_name": "modworker"})
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DatabaseError(
            f"the database at {masked_url(url)} cannot be reached: {reason}; check database.url"
        ) from None


@asynccontextmanager
async def open_database(url: str, *, deployment: str, may_migrate: bool, pool_size: int) -> AsyncIterator[Database]:
    """Connect, bring the schema up to date if allowed, and hold a pool open.

    Raises:
        DatabaseError: if the database cannot be reached or cannot serve this program.

    """
    connection = await connect(url)
    try:
        if may_migrate and (applied := await migrate.migrate(connection, deployment)):
            log.info("database migrated", migrations=applied)
        await migrate.refuse_other_schema(connection, deployment)
    finally:
        await connection.close()
    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=pool_size,
        timeout=_CONNECT_SECONDS,
        command_timeout=_STATEMENT_SECONDS,
        max_inactive_connection_lifetime=60,
        server_settings={
            "application_name": "modworker",
            "idle_in_transaction_session_timeout": "5s",
            "jit": "off",
            "plan_cache_mode": "force_custom_plan",
            "synchronous_commit": "on",
        },
    )
    try:
        yield Database(pool, url)
    finally:
        pool.terminate()

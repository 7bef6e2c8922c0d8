"""The connection pool, the named statements, and the patience with a database that is away for a while."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import stamina
import structlog
from asyncpg.pool import PoolConnectionProxy

from worker.config import masked_url, reads_cleanly
from worker.errors import DatabaseError
from worker.failpoints import around, passing
from worker.store import migrate
from worker.store.patience import Patience

P = ParamSpec("P")
S = TypeVar("S", bound="_OverDatabase")
T = TypeVar("T")
Connection = asyncpg.Connection | PoolConnectionProxy

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_OPTION = re.compile(r"(?:-c\s*|--)([\w-]+)=")
_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 70  # longer than the server takes to end a statement: then the connection itself is dead

SESSION = {
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "synchronous_commit": "on",
}
"""What the statements and the promises of this program rely on."""

LIMITS = {
    "application_name": "modworker",
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",  # a process that stands still holds up the next owner no longer
}
"""So that nothing is held up for ever, by us or for us; the query of `database.url` may set them otherwise, as
`?lock_timeout=5s` or `?options=-c lock_timeout=5s`."""

_UNCLEAN = "its URL does not read cleanly, write the user and the password in it percent-encoded"

log = structlog.get_logger()

stamina.instrumentation.set_on_retry_hooks(())  # a line for each try of each task; `Patience` tells it as one


class UnreachableError(DatabaseError):
    """There is no server, or it lets nobody in: mended by an operator, or by the server's own coming back."""


TRANSIENT: tuple[type[Exception], ...] = (
    UnreachableError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,  # restored under the same name, it is there again
    asyncpg.IdleSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.StatementCompletionUnknownError,
    asyncpg.InsufficientResourcesError,  # disk, memory, connections
    asyncpg.PostgresIOError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a replica, until it is promoted
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,  # a migration changed a table; the statement is prepared anew
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What passes when the database is back: every unit of work against it is repeated after these.

Of the server's errors (its manual, appendix A) those that tell of its state and not of the statement. Whatever else it
says, such as of a missing table, a broken constraint or damaged data, would be said again, and ends the program.
"""


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


class _OverDatabase(Protocol):
    @property
    def _database(self) -> Database: ...


def patient(work: Callable[Concatenate[S, P], Awaitable[T]]) -> Callable[Concatenate[S, P], Awaitable[T]]:
    """Repeat a unit of work, which must be harmless to repeat, until the database answers; the waiting is told."""

    @functools.wraps(work)
    async def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._database.patience.unit() as unit:

            def is_worth_another(error: Exception) -> bool:
                if is_transient(error):
                    unit.failed(error)
                    return True
                return False

            async for attempt in stamina.retry_context(
                on=is_worth_another, attempts=None, timeout=None, wait_initial=0.05, wait_max=5.0, wait_jitter=0.2
            ):
                with attempt:
                    try:
                        return await work(self, *args, **kwargs)
                    except asyncpg.ReadOnlySQLTransactionError:
                        await self._database.pool.expire_connections()  # they would stay with what is a replica now
                        raise
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
        self.patience = Patience()

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Connection]:
        """One transaction on a connection of the pool; its name is that of the failpoints around its commit."""
        async with self.pool.acquire() as connection, transaction(connection, name):
            yield connection

    async def commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """A named statement that is a transaction of its own."""
        with around(statement):
            return await self.pool.fetch(SQL[statement], *arguments)

    @asynccontextmanager
    async def unlimited(self) -> AsyncIterator[Connection]:
        """One snapshot for an operator's command that may read whole tables: no limit of the server's ends it."""
        async with self.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            for limit in LIMITS.keys() - {"application_name"}:
                await connection.execute(f"set local {limit} = 0")
            yield connection

    async def is_reachable(self) -> bool:
        """True when a statement gets through."""
        return bool(await self.pool.fetchval("select true"))


async def connect(url: str, **settings: str) -> asyncpg.Connection:
    """One connection outside the pool, with settings of the server's for its session, and otherwise no limits.

    Raises:
        UnreachableError: if the server cannot be reached or refuses; in one sentence, without the password.

    """
    with _unreachable_after(url, ValueError):
        settings = _with_those_of(url, {"application_name": LIMITS["application_name"]}) | settings
    return await _let_in(url, timeout=_CONNECT_SECONDS, server_settings=settings)


async def _let_in(dsn: str | None = None, **options: Any) -> asyncpg.Connection:
    with _unreachable_after(dsn or "", OSError, asyncpg.PostgresError, ValueError, *TRANSIENT):
        return await asyncpg.connect(dsn, **options)


@contextmanager
def _unreachable_after(url: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn these errors into one sentence for the operator."""
    try:
        yield
    except errors as error:
        reason = (str(error) or type(error).__name__) if reads_cleanly(url) else _UNCLEAN
        raise UnreachableError(
            f"the database at {masked_url(url)} cannot be reached: {reason}; check database.url"
        ) from None


def _with_those_of(url: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings, without those that the query of the URL brings itself."""
    query = dict(parse_qsl(urlsplit(url).query))
    named = {*query, *(name.replace("-", "_") for name in _OPTION.findall(query.get("options", "")))}
    return {name: value for name, value in settings.items() if name not in named}


@asynccontextmanager
async def open_database(url: str, *, deployment: str, may_migrate: bool, pool_size: int) -> AsyncIterator[Database]:
    """Connect, bring the schema up to date if allowed, and hold a pool open.

    Raises:
        DatabaseError: if the database cannot be reached or cannot serve this program.

    """
    with _unreachable_after(url, *TRANSIENT):
        await _bring_up_to_date(url, deployment, may_migrate=may_migrate)
    pool = await asyncpg.create_pool(
        url,
        connect=_let_in,
        min_size=0,  # or the pool would log every failure to hold the others, with a stack trace
        max_size=pool_size,
        timeout=_CONNECT_SECONDS,
        command_timeout=_ANSWER_SECONDS,
        max_inactive_connection_lifetime=60,
        server_settings=SESSION | _with_those_of(url, LIMITS),
        reset=_as_it_is,
    )
    try:
        yield Database(pool, url)
    finally:
        pool.terminate()


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Nothing outlives its transaction in a session: asyncpg's own cleaning would double the round trips."""


async def _bring_up_to_date(url: str, deployment: str, *, may_migrate: bool) -> None:
    connection = await connect(url)
    try:
        migrate.refuse_old_server(connection.get_server_version())
        if may_migrate and (applied := await migrate.migrate(connection, deployment)):
            log.info("database migrated", migrations=applied)
        await migrate.refuse_other_schema(connection, deployment)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(
            f"the role of database.url may not do this ({error}); deploy/postgres/README.md tells which role does what"
        ) from None
    finally:
        await connection.close()

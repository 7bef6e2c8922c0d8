"""What is waited for and what is not, how the waiting is told, and the limits that a session sets itself."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal
from structlog.testing import capture_logs

from tests.conftest import DEPLOYMENT
from tests.store.steps import Steps
from tests.system.proxy import Proxy, proxy
from worker.errors import DatabaseError
from worker.store.database import Database, UnreachableError, connect, is_transient, open_database, patient
from worker.store.patience import LONGEST_SILENCE_SECONDS, SHORTEST_SILENCE_SECONDS, Patience

PASSES = {
    # connections
    "08000", "08001", "08003", "08004", "08006", "08007", "08P01",
    # a statement for another connection, prepared anew
    "0A000 InvalidCachedStatementError",
    # transactions that were ended from outside; a replica
    "25006", "25P03", "25P04",
    "40001", "40003", "40P01",
    # disk, memory, connections
    "53000", "53100", "53200", "53300", "53400",
    "55P03",
    # operators
    "57014", "57P01", "57P02", "57P03", "57P04", "57P05",
    # the storage below
    "58030",
}  # fmt: skip
"""SQLSTATE of every error that passes when it is a statement's; whatever refuses a connection passes as well."""

CODES = {
    f"{error.sqlstate} {name}": error
    for name, error in inspect.getmembers(asyncpg.exceptions, inspect.isclass)
    if issubclass(error, asyncpg.PostgresError) and error.sqlstate
}


def test_each_error_of_the_server_either_passes_or_ends_the_work():
    """The server's state is waited for; a fault of a statement, or of the data, would be there again."""
    passing = {name for name, error in CODES.items() if is_transient(error(""))}
    assert passing == {name for name in CODES if name in PASSES or name[:5] in PASSES}
    assert {*CODES, *(name[:5] for name in CODES)} >= PASSES


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (UnreachableError("role is not permitted to log in"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InternalClientError("got no result"), True),
        (asyncpg.TargetServerAttributeNotMatched("no primary yet"), True),
        (ConnectionResetError(), True),
        (FileNotFoundError("no socket"), True),
        (TimeoutError(), True),
        (asyncpg.DataError("a float where a number is expected"), False),
        (asyncpg.ClientConfigurationError("bad"), False),
        (DatabaseError("the database is newer than this program"), False),
        (ValueError(), False),
        (LookupError(), False),
    ],
)
def test_each_error_of_the_client_either_passes_or_ends_the_work(error: Exception, passes: bool):
    """Lost connections are waited for; values that cannot be sent, and faults of the program, are not."""
    assert is_transient(error) == passes


# How the waiting is told


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_waiting_of_many_for_long_is_told_in_few_lines():
    """An hour's absence, met a hundred times a second, is told at once and then ever more seldom, and its end once."""
    clock = Clock()
    patience = Patience(clock)
    units = [patience.unit() for _ in range(100)]
    with capture_logs() as lines:
        while clock.now < 3700.0:
            for unit in units:
                unit.failed(ConnectionRefusedError("connection refused"))
            clock.now += 1.0
        for unit in units:
            unit.went_through()
    *waiting, end = lines
    assert [line["log_level"] for line in waiting] == ["warning"] * len(waiting)
    assert waiting[0]["units_of_work"] == 1
    assert waiting[0]["reason"] == "connection refused"
    assert waiting[-1]["units_of_work"] == 100
    assert waiting[0]["since"]
    assert 3600 / LONGEST_SILENCE_SECONDS <= len(waiting) <= 3600 / LONGEST_SILENCE_SECONDS + 5
    assert end == {"event": "the database serves again", "log_level": "info", "waited_seconds": 3600.0}


def test_what_the_server_says_is_told_beside_a_lost_connection():
    """The reason for which nobody is let in is not hidden by the broken connection that came first."""
    patience = Patience(Clock())
    unit = patience.unit()
    with capture_logs() as lines:
        for _ in range(3):
            for error in (
                ConnectionResetError("reset"),
                asyncpg.InterfaceError("connection is closed"),
                TimeoutError(),
            ):
                unit.failed(error)
            unit.failed(UnreachableError("password authentication failed"))
            unit.failed(asyncpg.DiskFullError("no space left on device"))
    assert [line["reason"] for line in lines] == [
        "reset",
        "password authentication failed",
        "no space left on device",
    ]


def test_flapping_database_is_told_at_a_bounded_rate():
    """A failure and a success a second make two lines every few seconds, not two a second."""
    clock = Clock()
    patience = Patience(clock)
    with capture_logs() as lines:
        for _ in range(60):
            with patience.unit() as unit:
                unit.failed(OSError("reset"))
            clock.now += 1.0
    assert len(lines) == 2 * 60 / SHORTEST_SILENCE_SECONDS


def test_wait_is_over_when_nothing_waits_any_more():
    """Reading that works does not hide that writing does not; work that is given up does not end the wait."""
    patience = Patience(Clock())
    writing, given_up = patience.unit(), patience.unit()
    with capture_logs() as lines:
        writing.failed(asyncpg.DiskFullError("no space left on device"))
        with patience.unit():
            pass
        given_up.failed(asyncpg.DiskFullError("no space left on device"))
        with suppress(KeyError), given_up:
            raise KeyError
        assert len(lines) == 1
        writing.went_through()
    assert [line["event"] for line in lines][1:] == ["the database serves again"]


# Repeated units of work


class Work:
    """A unit that fails as it is told, and then answers."""

    def __init__(self, database: Database, *errors: Exception) -> None:
        self._database = database
        self.errors = list(errors)

    @patient
    async def answer(self, value: int) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return value


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The store's view of one database."""
    async with open_database(database_url, deployment=DEPLOYMENT, may_migrate=False, pool_size=4) as database:
        yield database


async def test_work_is_repeated_until_it_gets_through(database: Database):
    """What passes is tried again; the answer is that of the try that got through."""
    work = Work(database, OSError(), asyncpg.DiskFullError(""), asyncpg.ReadOnlySQLTransactionError(""))
    assert await work.answer(7) == 7


async def test_what_lasts_is_raised_at_once(database: Database):
    """An error that would come again is not repeated, whatever came before."""
    work = Work(database, OSError(), asyncpg.UndefinedTableError("no such table"), OSError())
    with pytest.raises(asyncpg.UndefinedTableError):
        await work.answer(7)
    assert len(work.errors) == 1


@pytest.fixture
def between(portal: BlockingPortal, database_url: str) -> Iterator[Proxy]:
    """A proxy before the database."""
    with portal.wrap_async_context_manager(proxy(database_url)) as between:
        yield between


@pytest.fixture
async def steps(between: Proxy) -> AsyncIterator[Steps]:
    """The store behind the proxy."""
    async with open_database(between.url, deployment=DEPLOYMENT, may_migrate=False, pool_size=4) as database:
        yield Steps(database)


async def test_claim_whose_answer_was_lost_takes_the_same_videos_once(steps: Steps, between: Proxy):
    """However often the answer is lost, the same videos are claimed, once each, and none stays behind without a job."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, [f"{n}.mp4" for n in range(6)])
    between.lose_next_commits(5)
    claimed = await steps.claims.claim(owner, backfill, after=0, limit=3, estimate=lambda *_: 1.0)
    rows = await steps.database.pool.fetch("select id, claims, reserved_usd from video where state = 'active'")
    assert between.lost == 5
    assert sorted(video.id for video in claimed.videos) == sorted(row["id"] for row in rows)
    assert {(row["claims"], row["reserved_usd"]) for row in rows} == {(1, 1)}
    assert len(rows) == 3
    _, findings = await steps.reports.verify(None)
    assert findings == []


async def test_gauges_of_the_worker_survive_a_broken_connection(steps: Steps, between: Proxy):
    """What is read every few seconds for the metrics does not end the worker when its connection breaks."""
    nothing = {"backfills": [], "lanes": []}
    assert await steps.reports.books() == nothing
    between.cut()
    assert await steps.reports.books() == nothing


async def test_connections_into_the_void_are_given_up(between: Proxy, monkeypatch: pytest.MonkeyPatch):
    """After a failover without a word, work that waits for the dead server is repeated on the new one."""
    monkeypatch.setattr("worker.store.database._ANSWER_SECONDS", 0.5)
    async with open_database(between.url, deployment=DEPLOYMENT, may_migrate=False, pool_size=2) as database:
        registry = Steps(database).registry
        assert await registry.work_left(["main"]) == 0
        between.forsake()
        assert await asyncio.wait_for(registry.work_left(["main"]), timeout=5) == 0


async def test_lease_outlives_a_broken_connection(steps: Steps, between: Proxy):
    """A renewal whose connection breaks is tried again at once, over a new one."""
    owner = await steps.own()
    async with steps.leases.connection() as lease:
        assert await lease.renew(owner, 600.0, {}, within_seconds=5)
        between.cut()
        assert await lease.renew(owner, 600.0, {}, within_seconds=5)
        between.lose_next_commits(1, of_statements=True)
        assert await lease.renew(owner, 600.0, {}, within_seconds=5)


async def test_renewal_says_what_it_waits_for(steps: Steps, between: Proxy):
    """A lease that cannot be renewed is told with its reason, before the lane is lost."""
    owner = await steps.own()
    async with steps.leases.connection() as lease:
        with between.stalled(), capture_logs() as lines:
            assert await lease.renew(owner, 600.0, {}, within_seconds=0.2) is None
    assert [line["reason"] for line in lines] == ["no answer in time"]


async def test_renewals_leave_no_session_behind(steps: Steps):
    """While the lane's row is locked, the server ends the renewals that nobody waits for any more."""
    owner = await steps.own()
    async with steps.leases.connection() as lease, steps.database.transaction("test") as deciding:
        await deciding.execute("select from lane where id = $1 for update", owner.lane_id)
        for _ in range(3):
            assert await lease.renew(owner, 600.0, {}, within_seconds=0.2) is None
        deadline = time.monotonic() + 5
        while await deciding.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


# Limits of a session


async def settings_of(connection: asyncpg.Connection) -> dict[str, str]:
    """What holds in a session."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit"]
    return {name: await connection.fetchval("select current_setting($1)", name) for name in names}


async def test_sessions_of_the_pool_have_limits(database: Database):
    """Nothing that the worker does holds locks, or waits for them, without an end."""
    async with database.pool.acquire() as connection:
        found = await settings_of(connection)
    assert found == {
        "statement_timeout": "1min",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "5s",
        "synchronous_commit": "on",
    }


@pytest.mark.parametrize(
    "query",
    [
        "lock_timeout=7s&statement_timeout=90s&synchronous_commit=off",
        "options=-c%20lock_timeout%3D7s%20--statement-timeout%3D90s%20-c%20synchronous_commit%3Doff",
    ],
)
async def test_operators_set_other_limits_in_the_url(database_url: str, query: str):
    """The query of database.url, in either of its spellings, goes before the program's limits but not its promises."""
    url = f"{database_url}&{query}"
    async with (
        open_database(url, deployment=DEPLOYMENT, may_migrate=False, pool_size=2) as database,
        database.pool.acquire() as connection,
    ):
        found = await settings_of(connection)
    assert (found["lock_timeout"], found["statement_timeout"]) == ("7s", "90s")
    assert found["idle_in_transaction_session_timeout"] == "5s"
    assert found["synchronous_commit"] == "on"


async def test_operators_commands_are_not_ended_by_the_limits(database_url: str):
    """`verify` may take longer than any statement of the worker."""
    url = f"{database_url}&statement_timeout=100ms&lock_timeout=100ms"
    async with open_database(url, deployment=DEPLOYMENT, may_migrate=False, pool_size=2) as database:
        async with database.unlimited() as connection:
            await connection.execute("select pg_sleep(0.2)")
        with pytest.raises(asyncpg.QueryCanceledError):
            await database.pool.execute("select pg_sleep(0.2)")


async def test_connection_that_is_refused_is_one_sentence_without_the_password(database_url: str):
    """Whoever is not let in is told so by name and reason."""
    url = database_url.replace("modworker@", "nobody:secret@")
    with pytest.raises(UnreachableError, match=r'cannot be reached: role "nobody" does not exist; check') as refused:
        await connect(url)
    assert "secret" not in str(refused.value)


async def test_readers_move_to_a_new_primary(database_url: str, database: Database):
    """Sessions that were opened on a server which may only be read now are not used any more."""

    class Writes:
        def __init__(self) -> None:
            self._database = database

        @patient
        async def write(self) -> None:
            await database.pool.execute("create temp table written ()")

    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("select current_database()")
    await admin.execute(f'alter database "{name}" set default_transaction_read_only = on')
    async with database.pool.acquire() as kept:
        assert await kept.fetchval("show transaction_read_only") == "on"
    await admin.execute(f'alter database "{name}" set default_transaction_read_only = off')
    await admin.close()
    await asyncio.wait_for(Writes().write(), timeout=5)

"""The service's SQLite file: one thread writes, in groups; the event loop reads.

A write is answered after its group has been committed. WAL with synchronous=NORMAL survives the death of the process at
any moment; only a failure of the machine may take back the last commits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import anyio.to_thread
import msgspec

from worker.errors import UsageError
from worker.local.state import kept_clock
from worker.local.state.clock import Clock
from worker.local.state.kept_clock import KEPT_EVERY_SECONDS

T = TypeVar("T")
Action = Callable[[sqlite3.Connection], T]

_VERSION = 2
_LARGEST_GROUP = 256  # writes in one transaction: keeps a group to some milliseconds
_SCHEMA = """
CREATE TABLE job (
    number          INTEGER PRIMARY KEY,
    job_id          TEXT NOT NULL UNIQUE,
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    bucket          TEXT NOT NULL,
    key             TEXT NOT NULL,
    version_id      TEXT,
    size_bytes      INTEGER NOT NULL,
    min_confidence  REAL NOT NULL,
    token           TEXT,
    tag             TEXT,
    topic_arn       TEXT,
    started_at_ms   INTEGER NOT NULL,
    ends_at_ms      INTEGER,                    -- NULL where only the analysis itself tells
    seed            INTEGER,                    -- of the synthetic analyst; NULL where one really looks
    status          TEXT NOT NULL DEFAULT 'IN_PROGRESS' CHECK (status IN ('IN_PROGRESS', 'SUCCEEDED', 'FAILED')),
    status_message  TEXT,
    ended_at_ms     INTEGER,
    minutes         REAL NOT NULL DEFAULT 0,
    CHECK ((status = 'IN_PROGRESS') = (ended_at_ms IS NULL))
);
CREATE INDEX job_due ON job (ends_at_ms) WHERE status = 'IN_PROGRESS' AND seed IS NOT NULL;
CREATE INDEX job_unfinished ON job (number) WHERE status = 'IN_PROGRESS' AND seed IS NULL;

CREATE TABLE token (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    token          TEXT NOT NULL,
    request        BLOB NOT NULL,               -- fingerprint of what was asked for under the token
    job_id         TEXT NOT NULL,
    started_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (account, region, token)
) WITHOUT ROWID;

CREATE TABLE analysis (number INTEGER PRIMARY KEY, document BLOB NOT NULL);

CREATE TABLE slots (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    running        INTEGER NOT NULL,
    most_running   INTEGER NOT NULL,
    busy_ms        INTEGER NOT NULL DEFAULT 0,  -- of all jobs together, up to the last change
    active_ms      INTEGER NOT NULL DEFAULT 0,  -- while any ran, up to the last change
    changed_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (account, region)
) WITHOUT ROWID;

CREATE TABLE totals (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    paid_jobs     INTEGER NOT NULL DEFAULT 0,
    replays       INTEGER NOT NULL DEFAULT 0,   -- Starts that led to a job of before
    minutes       REAL NOT NULL DEFAULT 0,
    running       INTEGER NOT NULL DEFAULT 0,
    most_running  INTEGER NOT NULL DEFAULT 0
);
INSERT INTO totals (id) VALUES (1);

CREATE TABLE call (
    operation    TEXT NOT NULL,
    account      TEXT NOT NULL,
    region       TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    times        INTEGER NOT NULL,
    executed     INTEGER NOT NULL,              -- of these; the others changed nothing
    PRIMARY KEY (operation, account, region, outcome)
) WITHOUT ROWID;

CREATE TABLE queue (                            -- those that were created, or changed, or are dead-letter queues
    queue              TEXT PRIMARY KEY,        -- account/region/name
    attributes         TEXT NOT NULL,           -- a JSON object of those that were set
    dead_letter_queue  TEXT,                    -- the target of its redrive policy
    created_at_ms      INTEGER NOT NULL,
    modified_at_ms     INTEGER NOT NULL,
    purged_at_ms       INTEGER,
    deleted_at_ms      INTEGER                  -- its name is not free again at once
) WITHOUT ROWID;
CREATE INDEX queue_source ON queue (dead_letter_queue, queue) WHERE dead_letter_queue IS NOT NULL;

CREATE TABLE message (
    number                INTEGER PRIMARY KEY AUTOINCREMENT,
    queue                 TEXT NOT NULL,
    message_id            TEXT NOT NULL,
    body                  TEXT NOT NULL,
    attributes            TEXT,                 -- a JSON object of the sender's
    system_attributes     TEXT,                 -- a JSON object of those that the sender chooses
    dead_letter_source    TEXT,                 -- the ARN of the queue that it was moved from
    sent_at_ms            INTEGER NOT NULL,
    visible_at_ms         INTEGER NOT NULL,
    receive_count         INTEGER NOT NULL DEFAULT 0,
    first_received_at_ms  INTEGER,
    received_at_ms        INTEGER,
    receipt               TEXT                  -- of the latest receive; NULL before the first
);
CREATE INDEX message_visible ON message (queue, visible_at_ms);
CREATE INDEX message_sent ON message (queue, sent_at_ms);
CREATE INDEX message_held ON message (queue, visible_at_ms) WHERE receipt IS NOT NULL;

CREATE TABLE publication (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    topic_arn  TEXT NOT NULL,
    body       TEXT NOT NULL,
    due_at_ms  INTEGER NOT NULL
);
CREATE INDEX publication_due ON publication (due_at_ms);
CREATE TABLE folder (bucket TEXT PRIMARY KEY, path TEXT NOT NULL);
CREATE TABLE clock (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    now_ms   INTEGER NOT NULL,
    true_ms  INTEGER NOT NULL,
    speed    REAL NOT NULL,
    went_on  INTEGER NOT NULL                   -- whether the process ran on after that moment
);
CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class _Write(msgspec.Struct, frozen=True):
    action: Action[Any]
    answer: asyncio.Future[Any]


class _Outcome(msgspec.Struct, frozen=True):
    answer: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class Database:
    """Open within a running event loop; `close` waits for the writes that were asked for.

    The clock goes on from where it was: at true speed for the time that no process ran, at `speed` from now on. It is
    kept with every group, and while there is nothing to write several times a second.
    """

    def __init__(self, path: Path, speed: float) -> None:
        with closing(_connect(path)) as connection:
            _prepare(connection, path)
            self.clock = _resumed_clock(connection, speed)
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._reader = _connect(path)
        self._writes: SimpleQueue[_Write | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write_groups, name="local-service-writer", daemon=True)
        self._writer.start()

    async def write(self, action: Action[T]) -> T:
        """Run `action` in a transaction of the writing thread; what it raises undoes it alone and is raised here."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Write(action, answer))
        return await answer

    def read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a short query, run in place."""
        return self._reader.execute(statement, values).fetchall()

    @property
    def reader(self) -> sqlite3.Connection:
        """The event loop's own connection, for queries only."""
        return self._reader

    async def close(self) -> None:
        """Write what was asked for, then close."""
        self._writes.put(None)
        await anyio.to_thread.run_sync(self._writer.join)
        self._reader.close()

    def _write_groups(self) -> None:
        with closing(_connect(self._path)) as connection:
            while (group := self._next_group()) is not None:
                outcomes = _write_group(connection, group, self.clock)
                if outcomes:
                    self._loop.call_soon_threadsafe(_deliver, outcomes)
            with suppress(sqlite3.Error):  # the moment of the last group will do
                kept_clock.keep(connection, self.clock, goes_on=False)

    def _next_group(self) -> list[_Write] | None:
        """Wait a while for a write and take the ones that came meanwhile; None at the end."""
        group: list[_Write] = []
        try:
            write = self._writes.get(timeout=KEPT_EVERY_SECONDS)
            while write is not None and len(group) < _LARGEST_GROUP - 1:
                group.append(write)
                write = self._writes.get_nowait()
        except Empty:
            return group
        if write is not None:
            group.append(write)
        elif group:
            self._writes.put(None)  # the end comes after this group
        else:
            return None
        return group


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    elif version != _VERSION:
        raise UsageError(
            f"{path} was written by another version of modworker (format {version}, not {_VERSION}); "
            "remove it to begin anew, or go on with that version"
        )


def _resumed_clock(connection: sqlite3.Connection, speed: float) -> Clock:
    with _transaction(connection):
        clock = kept_clock.resumed(connection, speed)
        kept_clock.keep(connection, clock, goes_on=True)
        return clock


def _write_group(connection: sqlite3.Connection, group: list[_Write], clock: Clock) -> list[_Outcome]:
    try:
        with _transaction(connection):
            outcomes = [_attempt(connection, write) for write in group]
            kept_clock.keep(connection, clock, goes_on=True)
            return outcomes
    except sqlite3.Error as error:
        return [_Outcome(write.answer, None, error) for write in group]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _attempt(connection: sqlite3.Connection, write: _Write) -> _Outcome:
    connection.execute("SAVEPOINT attempt")
    try:
        outcome = _Outcome(write.answer, write.action(connection), None)
    except Exception as error:  # noqa: BLE001 (it belongs to the one who asked for the write)
        connection.execute("ROLLBACK TO attempt")
        outcome = _Outcome(write.answer, None, error)
    connection.execute("RELEASE attempt")
    return outcome


def _deliver(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        if outcome.answer.done():  # the one who asked was cancelled; the write stands
            continue
        if outcome.error is not None:
            outcome.answer.set_exception(outcome.error)
        else:
            outcome.answer.set_result(outcome.result)

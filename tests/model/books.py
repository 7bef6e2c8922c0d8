"""The database as a tree of contents: each store call is made on each contents once, on a real PostgreSQL.

The explorer meets the same contents in thousands of states that differ in what owners remember. So contents get
numbers, and the outcome of a call on them is kept. What is not known yet is tried: the one connection goes to the
contents by savepoints, back to where the way there branches off and forward by the calls that lead there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct

from tests.model.calls import LONG_SECONDS, Call, Store
from worker.store.database import SQL, Database

TABLES = ("lane", "video", "job", "tally", "detection", "job_label")
UNTOLD = {"registered_at", "asked", "is_noticed", "report", "metadata"}
"""Columns that decide nothing but waiting times and figures for people."""

COMPARED_TIMES = {
    "expires_at": "expires_at > '-infinity' as is_held",
    "intent_at": f"intent_at < clock_timestamp() - make_interval(secs => {LONG_SECONDS}) as is_too_old",
}
"""A lease is over when it is made to end. Of other times it is told whether they are there; due times are let pass in
the call that looks at them.
"""

# Numbers that PostgreSQL would give in the order of asking are made of what they stand for, so that equal contents are
# equal whatever way led to them: a job's of its buyer and generation, the place of a video that came back of both.
CANONICAL_NUMBERS = """
create function number_job() returns trigger language plpgsql as
  'begin new.id := new.video_id * 10 + new.generation; return new; end';
create trigger number_job before insert on job for each row execute function number_job();
create function number_return() returns trigger language plpgsql as
  'begin new.claim_order := new.generation * 100 + new.id; return new; end';
create trigger number_return before update of claim_order on video for each row execute function number_return();
"""

HOLD_TIME = "update lane set expires_at = clock_timestamp() + interval '4 minutes' where expires_at > '-infinity'"
"""An exploration may take longer than a lease."""

COLUMNS = """
select table_name as table, column_name as name, data_type as type from information_schema.columns
 where table_schema = 'public' and table_name = any($1) order by table_name, ordinal_position
"""


class NotDeterministicError(AssertionError):
    """The same calls gave other contents than before: a column that the calls do not determine is told."""


class Contents(Struct, frozen=True):
    """What the database holds after the calls that lead here from `parent`.

    `lane` is told apart from the rest, `rest` numbers the rest: who holds the lane is compared by owners, not by ids.
    """

    parent: int
    call: Call | None
    rest: int
    lane: dict[str, Any]
    videos: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    tallies: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    findings: list[str]


class Outcome(Struct, frozen=True):
    """What a call answered and the contents that it left; or the error that PostgreSQL raised."""

    answer: Any
    contents: int
    error: str | None = None


class OneConnection:
    """Stands in for the pool: whoever acquires a connection is given the one there is."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.execute = connection.execute
        self.fetch = connection.fetch
        self.fetchrow = connection.fetchrow
        self.fetchval = connection.fetchval

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """The one connection."""
        yield self._connection


class Books:
    """Every contents that was met, by number; the first is what it all begins with."""

    def __init__(self, connection: asyncpg.Connection, url: str, *, claim_usd: float, intent_usd: float) -> None:
        self._connection = connection
        self.database = Database(OneConnection(connection), url)
        self._store = Store(self.database, claim_usd=claim_usd, intent_usd=intent_usd)
        self._known: list[Contents] = []
        self._numbers: dict[tuple[str, ...], int] = {}
        self._rests: dict[tuple[str, ...], int] = {}
        self._outcomes: dict[tuple[int, Call], Outcome] = {}
        self._way: list[int] = []  # the contents from the first to those that the connection is at, a savepoint each
        self._look = self._check = ""
        self.calls_made = 0

    async def begin(self) -> int:
        """Number the contents as they are now; from here on everything is rolled back again."""
        columns = await self._connection.fetch(COLUMNS, TABLES)
        self._look = " union all ".join(_look_at(table, columns) for table in TABLES)
        self._check = " union all ".join(_finding_of(name) for name in SQL if name.startswith("verify_"))
        self._way = [await self._number_of_present(parent=0, call=None)]
        return self._way[0]

    def __getitem__(self, number: int) -> Contents:
        return self._known[number]

    def __len__(self) -> int:
        return len(self._known)

    async def outcome(self, contents: int, call: Call) -> Outcome:
        """What the call does to the contents."""
        if (contents, call) not in self._outcomes:
            await self._go_to(contents)
            self._outcomes[contents, call] = await self._try(contents, call)
        return self._outcomes[contents, call]

    async def _try(self, contents: int, call: Call) -> Outcome:
        self.calls_made += 1
        if call.changes_nothing:
            return Outcome(await call.of(self._store), contents)
        await self._mark()
        try:
            answer = await call.of(self._store)
        except asyncpg.PostgresError as error:
            await self._back(len(self._way))
            return Outcome(None, contents, f"{type(error).__name__}: {error.args[0]}")
        after = await self._number_of_present(contents, call)
        if after == contents:
            await self._back(len(self._way))
        else:
            self._way.append(after)
        return Outcome(answer, after)

    async def _go_to(self, contents: int) -> None:
        """Move the connection: back by savepoints to where the ways part, then forward by the calls of the way."""
        way = self._way_to(contents)
        shared = next((i for i, (a, b) in enumerate(zip(way, self._way, strict=False)) if a != b), len(way))
        shared = min(shared, len(self._way))
        if shared < len(self._way):
            await self._back(shared)
        if shared == len(way):
            return
        for number in way[shared:]:
            await self._mark()
            self.calls_made += 1
            await self._known[number].call.of(self._store)
            self._way.append(number)
        if self._numbers.get(await self._rows()) != contents:
            raise NotDeterministicError(f"contents {contents} cannot be reached again")

    def _way_to(self, contents: int) -> list[int]:
        way = [contents]
        while way[-1] != 0:
            way.append(self._known[way[-1]].parent)
        return way[::-1]

    async def _mark(self) -> None:
        await self._connection.execute(f"savepoint step_{len(self._way)}; {HOLD_TIME}")

    async def _back(self, steps: int) -> None:
        """Undo the calls but for the first `steps - 1`."""
        await self._connection.execute(f"rollback to savepoint step_{steps}; release savepoint step_{steps}")
        del self._way[steps:]

    async def _number_of_present(self, parent: int, call: Call | None) -> int:
        rows = await self._rows()
        if rows not in self._numbers:
            findings = [tuple(row) for row in await self._connection.fetch(self._check, None)]
            number = self._numbers[rows] = len(self._known)
            tables: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
            for row in rows:
                table, _, values = row.partition(" ")
                tables[table].append(json.loads(values))
            rest = tuple(row for row in rows if not row.startswith("lane "))
            self._known.append(
                Contents(
                    parent=parent,
                    call=call,
                    rest=self._rests.setdefault(rest, number),
                    lane=_with_holder(tables["lane"][0]),
                    videos=tables["video"],
                    jobs=tables["job"],
                    tallies=tables["tally"],
                    detections=tables["detection"],
                    findings=[f"{check}: {finding}" for check, finding in findings],
                )
            )
        return self._numbers[rows]

    async def _rows(self) -> tuple[str, ...]:
        return tuple(sorted(row["told"] for row in await self._connection.fetch(self._look)))


def _with_holder(lane: dict[str, Any]) -> dict[str, Any]:
    holder = lane["holder"]
    return lane | {"holder": None if holder is None else uuid.UUID(holder)}


def _look_at(table: str, columns: list[asyncpg.Record]) -> str:
    """The rows of a table without times, whose order and presence is all that matters."""
    told = [_told(row["name"], row["type"]) for row in columns if row["table"] == table and row["name"] not in UNTOLD]
    return f"select '{table} ' || row_to_json(r)::text as told from (select {', '.join(told)} from {table}) r"


def _told(column: str, kind: str) -> str:
    return COMPARED_TIMES.get(column) or (
        f"{column} is not null as {column}" if kind.startswith("timestamp") else column
    )


def _finding_of(name: str) -> str:
    return f"select '{name}' as check, row_to_json(f)::text as finding from ({SQL[name]}) f where $1::int is null"

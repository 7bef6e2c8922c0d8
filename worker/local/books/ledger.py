"""What was paid for, and which calls were answered how: the books that a worker's own are checked against."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import msgspec

from worker.local.books.quota_use import quotas_used
from worker.local.moderation.quotas import Quotas
from worker.local.protocol.identity import Caller
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Job

OK = "ok"

_FLUSH_SECONDS = 0.5
_JOBS_AT_ONCE = 500
_SLOTS = ("account", "region", "running", "most_running")


Counted = Counter[tuple[Caller, str, str, bool]]
"""(caller, operation, outcome, whether it was carried out) -> calls."""


class Ledger:
    """Jobs are counted in the transactions that start and end them; calls in memory, written twice a second."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas
        self._unwritten: Counted = Counter()

    def count(self, caller: Caller, operation: str, outcome: str, *, is_executed: bool) -> None:
        """Count an answered call: `outcome` is "ok", the error code, or how the answer was spoiled."""
        self._unwritten[caller, operation, outcome, is_executed] += 1

    async def run(self) -> None:
        """Write the counted calls until cancelled."""
        while True:
            await anyio.sleep(_FLUSH_SECONDS)
            if self._unwritten:
                await self.flush()

    async def flush(self) -> None:
        """Write the calls counted so far; those of a write that fails are counted again at the next."""
        counted, self._unwritten = self._unwritten, Counter()
        try:
            await self._database.write(lambda connection: _add_calls(connection, counted))
        except sqlite3.Error:
            self._unwritten.update(counted)
            raise

    async def summary(self) -> dict[str, Any]:
        """Everything but the paid jobs themselves."""
        await self.flush()
        [totals] = self._database.read("SELECT paid_jobs, replays, minutes, running, most_running FROM totals")
        return {
            "calls": self._calls(),
            "executed": dict(self._database.read("SELECT operation, sum(executed) FROM call GROUP BY operation")),
            **dict(zip(("paid_jobs", "replays", "minutes", "running", "most_running"), totals, strict=True)),
            "slots": [
                dict(zip(_SLOTS, row, strict=True))
                for row in self._database.read(f"SELECT {', '.join(_SLOTS)} FROM slots")  # noqa: S608 (names of our own)
            ],
            "quotas": quotas_used(self._database, self._quotas),
        }

    def paid(self) -> Iterator[list[dict[str, Any]]]:
        """The paid jobs in the order of their start, some at a time."""
        last = 0
        while group := jobs.after(self._database.reader, last, _JOBS_AT_ONCE):
            last = group[-1].number
            yield [_entry(job) for job in group]

    async def document(self) -> bytes:
        """Head of the whole ledger as JSON: an object left open for the member "paid"."""
        return msgspec.json.encode(await self.summary()).removesuffix(b"}") + b',"paid":['

    def _calls(self) -> dict[str, dict[str, int]]:
        calls: dict[str, dict[str, int]] = {}
        for operation, outcome, times in self._database.read(
            "SELECT operation, outcome, sum(times) FROM call GROUP BY operation, outcome ORDER BY operation, outcome"
        ):
            calls.setdefault(operation, {})[outcome] = times
        return calls


def _entry(job: Job) -> dict[str, Any]:
    return {
        "account": job.account,
        "region": job.region,
        "bucket": job.bucket,
        "key": job.key,
        "version_id": job.version_id,
        "min_confidence": job.min_confidence,
        "job_id": job.job_id,
        "token": job.token,
        "tag": job.tag,
        "minutes": job.minutes,
        "status": job.status,
    }


def _add_calls(connection: sqlite3.Connection, counted: Counted) -> None:
    connection.executemany(
        """
        INSERT INTO call (account, region, operation, outcome, times, executed) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET times = times + excluded.times, executed = executed + excluded.executed
        """,
        [
            (caller.account, caller.region, operation, outcome, times, times if is_executed else 0)
            for (caller, operation, outcome, is_executed), times in counted.items()
        ],
    )

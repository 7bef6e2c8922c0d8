"""What was paid for, and which calls were answered how: the books that a worker's own are checked against."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import msgspec

from worker.local import jobs
from worker.local.database import Database
from worker.local.jobs import Job

OK = "ok"

_FLUSH_SECONDS = 0.5
_JOBS_AT_ONCE = 500


class Ledger:
    """Jobs are counted in the transactions that start and end them; calls in memory, written twice a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unwritten: Counter[tuple[str, str]] = Counter()

    def count(self, operation: str, outcome: str) -> None:
        """Count an answered call: `outcome` is "ok" or the error code."""
        self._unwritten[operation, outcome] += 1

    async def run(self) -> None:
        """Write the counted calls until cancelled."""
        while True:
            await anyio.sleep(_FLUSH_SECONDS)
            if self._unwritten:
                await self.flush()

    async def flush(self) -> None:
        """Write the calls counted so far."""
        counted, self._unwritten = self._unwritten, Counter()
        try:
            await self._database.write(lambda connection: _add_calls(connection, counted))
        except sqlite3.Error:
            self._unwritten.update(counted)
            raise

    async def summary(self) -> dict[str, Any]:
        """Everything but the paid jobs themselves."""
        await self.flush()
        [(paid_jobs, minutes, running, most_running)] = self._database.read(
            "SELECT paid_jobs, minutes, running, most_running FROM totals"
        )
        calls: dict[str, dict[str, int]] = {}
        for operation, outcome, times in self._database.read("SELECT operation, outcome, times FROM call"):
            calls.setdefault(operation, {})[outcome] = times
        slots = self._database.read("SELECT account, region, running, most_running FROM slots")
        return {
            "calls": calls,
            "paid_jobs": paid_jobs,
            "minutes": minutes,
            "running": running,
            "most_running": most_running,
            "slots": [dict(zip(("account", "region", "running", "most_running"), row, strict=True)) for row in slots],
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


def _add_calls(connection: sqlite3.Connection, counted: Counter[tuple[str, str]]) -> None:
    connection.executemany(
        """
        INSERT INTO call (operation, outcome, times) VALUES (?, ?, ?)
        ON CONFLICT DO UPDATE SET times = times + excluded.times
        """,
        [(operation, outcome, times) for (operation, outcome), times in counted.items()],
    )

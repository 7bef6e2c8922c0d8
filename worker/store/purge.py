"""Removes a backfill: its videos, what it bought and nobody shares, its tallies, and itself; in batches.

Rows go by windows of ids, since a backfill's rows lie together and no index of its own finds them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import asyncpg
from msgspec import Struct

from worker.errors import UsageError
from worker.model import VIDEO_STATES, Backfill
from worker.store import audit
from worker.store.database import SQL, Connection, Database, patient
from worker.store.windows import windows

WINDOW = 1_000  # ids a transaction: at most so many videos, or jobs with all their detections
BATCH_SECONDS = 3600.0  # a job may have any number of detections


class Purged(Struct, frozen=True):
    """What is gone so far; `shared` jobs stay, since videos of other backfills are attached to them."""

    videos: int = 0
    jobs: int = 0
    shared: int = 0
    labels: int = 0

    def __add__(self, other: Purged) -> Purged:
        return Purged(*(getattr(self, key) + getattr(other, key) for key in self.__struct_fields__))


class Purge:
    """The purge of one backfill."""

    def __init__(self, database: Database, backfill: Backfill) -> None:
        self._database = database
        self._backfill = backfill

    async def run(self, who: str) -> AsyncGenerator[Purged]:
        """Decide, then remove batch after batch; yields what is gone after each. Interrupted, it can be run again.

        Raises:
            UsageError: if the backfill is neither final, nor cancelled with nothing active.

        """
        await self._begin(who)
        gone = Purged()
        for statement, remove in (("range_of_videos", self._remove_videos), ("range_of_jobs", self._remove_jobs)):
            for first, last in await self._windows(statement):
                gone += await remove(first, last)
                yield gone
        await self._finish()

    @patient
    async def _begin(self, who: str) -> None:
        """Mark the backfill, and write down what its books say, unless that was done before."""
        async with self._database.transaction("mark_purging") as connection:
            await connection.execute(SQL["lock_tallies_of_backfill"], self._backfill.id)
            marks = await connection.fetchrow(SQL["lock_backfill"], self._backfill.id)
            if marks is None or marks["is_purging"]:
                return
            books = await connection.fetchrow(SQL["books_of_backfill"], self._backfill.id)
            _refuse_unfinished(self._backfill.name, books, is_cancelled=marks["is_cancelled"])
            await connection.execute(SQL["mark_purging"], self._backfill.id)
            await audit.write(connection, who, "purge", self._backfill.name, _kept_of(books))

    @patient
    async def _windows(self, statement: str) -> list[tuple[int, int]]:
        """The ids from the first to the last that the statement tells, both ends counted, in windows."""
        async with self._database.unlimited() as connection:
            row = await connection.fetchrow(SQL[statement], self._backfill.id, timeout=BATCH_SECONDS)
        return list(windows(row["first"], row["last"], WINDOW)) if row else []

    @patient
    async def _remove_videos(self, first: int, last: int) -> Purged:
        """One transaction; jobs are locked before tallies before videos."""
        window = (self._backfill.id, first, last)
        async with self._database.transaction("purge_videos") as connection:
            job_ids = _ids(await connection.fetch(SQL["jobs_of_videos_to_purge"], *window))
            await self._lock(connection, job_ids)
            videos = await connection.fetchval(SQL["purge_videos"], *window)
            return Purged(videos=videos) + await self._drop(connection, job_ids)

    @patient
    async def _remove_jobs(self, first: int, last: int) -> Purged:
        """One transaction over jobs that were bought, and that no video of the backfill is attached to any more."""
        async with self._database.transaction("purge_jobs") as connection:
            job_ids = _ids(await connection.fetch(SQL["jobs_to_purge"], self._backfill.id, first, last))
            if not job_ids:
                return Purged()
            await self._lock(connection, job_ids)
            return await self._drop(connection, job_ids)

    async def _lock(self, connection: Connection, job_ids: Sequence[int]) -> None:
        await connection.execute(SQL["take_as_long_as_it_takes"])
        await connection.execute(SQL["lock_jobs"], job_ids)
        await connection.execute(SQL["lock_tallies_of_backfill"], self._backfill.id)

    async def _drop(self, connection: Connection, job_ids: Sequence[int]) -> Purged:
        row = await connection.fetchrow(SQL["purge_jobs"], self._backfill.id, job_ids, timeout=BATCH_SECONDS)
        return Purged(jobs=row["jobs"], shared=row["shared"], labels=row["labels"]) if row else Purged()

    @patient
    async def _finish(self) -> None:
        async with self._database.transaction("forget_backfill") as connection:
            await connection.execute(SQL["take_as_long_as_it_takes"])
            await connection.execute(SQL["forget_tallies"], self._backfill.id)
            await connection.execute(SQL["forget_backfill"], self._backfill.id, timeout=BATCH_SECONDS)


def _refuse_unfinished(name: str, books: asyncpg.Record | None, *, is_cancelled: bool) -> None:
    pending, active = (int(books[state] or 0) if books else 0 for state in ("pending", "active"))
    if pending and not is_cancelled:
        raise UsageError(
            f"backfill {name} is not final: {pending:,} of its videos are pending and {active:,} active; "
            "cancel it first, and purge it when nothing is active"
        )
    if active:
        raise UsageError(
            f"{active:,} of the videos of backfill {name} are active; let `modworker run` finish them, then purge it"
        )


def _kept_of(books: asyncpg.Record | None) -> dict[str, Any]:
    """What the audit keeps: videos by state, labels, money."""
    counts = {key: int(books[key] or 0) if books else 0 for key in (*VIDEO_STATES, "labels")}
    return {**counts, "spent_usd": float(books["spent_usd"] or 0) if books else 0.0}


def _ids(rows: Sequence[asyncpg.Record]) -> list[int]:
    return [row["job_id"] for row in rows]

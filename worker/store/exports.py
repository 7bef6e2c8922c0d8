"""Settled labels of backfills in the order of their jobs: those of one moment, any number in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from msgspec import Struct

from worker.errors import DatabaseError, UsageError
from worker.store.database import SQL, TRANSIENT, Connection, Database
from worker.store.windows import windows

WINDOW = 1_000  # ids of jobs a statement: few enough for the planner to go by indexes, whatever its statistics say
ROWS_AT_ONCE = 5_000
LONGEST_SECONDS = 3600.0  # the search for the first and the last job may read a whole table

COLUMNS = (
    *("backfill", "bucket", "key", "version_id", "aws_job_id", "timestamp_ms", "start_ms", "end_ms", "name"),
    *("parent_name", "taxonomy_level", "confidence", "content_types", "model_version"),
)
"""Those of the view `moderation_labels`, in its order; `content_types` is JSON."""

Rows = Sequence[Iterable[Any]]


class _Extent(Struct, frozen=True):
    backfill_id: int
    is_purging: bool
    at: datetime
    labels: int
    first: int | None
    last: int | None


class Snapshot:
    """The labels of backfills at the moment `at`; `labels` is their number, None where only some are asked for."""

    def __init__(self, connection: Connection, extents: Sequence[_Extent], since: datetime | None) -> None:
        self.at = extents[0].at
        self.labels = sum(extent.labels for extent in extents) if since is None else None
        self._connection = connection
        self._extents = extents
        self._since = since

    async def batches(self) -> AsyncGenerator[Rows, None]:
        """Rows of `COLUMNS`, some at a time, one backfill after the other."""
        for extent in self._extents:
            for first, last in windows(extent.first, extent.last, WINDOW):
                window = (extent.backfill_id, first, last, self._since)
                cursor = await self._connection.cursor(SQL["labels_of_jobs"], *window, timeout=LONGEST_SECONDS)
                while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=LONGEST_SECONDS):
                    yield rows


@asynccontextmanager
async def snapshot(database: Database, names: Sequence[str], since: datetime | None) -> AsyncIterator[Snapshot]:
    """The labels of backfills at this moment: of all their videos, or of those that settled at `since` or later.

    Raises:
        UsageError: if a backfill is gone, or is being purged.
        DatabaseError: if the database goes away.

    """
    with _gone_for_good():
        async with database.unlimited() as connection:
            yield Snapshot(connection, [await _extent(connection, name, since) for name in names], since)


async def _extent(connection: Connection, name: str, since: datetime | None) -> _Extent:
    row = await connection.fetchrow(SQL["extent_of_labels"], name, since, timeout=LONGEST_SECONDS)
    if row is None or row["is_purging"]:
        raise UsageError(f"backfill {name} is being purged, or was: its labels are not all there any more")
    return _Extent(**dict(row))


@contextmanager
def _gone_for_good() -> Iterator[None]:
    """A snapshot ends with its connection, and cannot be had again."""
    try:
        yield
    except TRANSIENT as error:
        reason = str(error) or type(error).__name__
        raise DatabaseError(f"the database went away while it was read ({reason}); give the command again") from None

"""Writes settled labels of backfills into a file, as Parquet, CSV or JSON Lines: whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from anyio import to_thread
from msgspec import Struct

from worker.export.formats import FormatName, Write, writer_of
from worker.export.target import SendOn, Target, failure_told, opened
from worker.store.database import Database
from worker.store.exports import Rows, snapshot

OVERLAP = timedelta(minutes=5)  # longer than any transaction that settles videos: an export that goes on misses none

Shown = Callable[[int, int | None], None]
"""Labels written so far, and how many there are, if that is known."""


class Request(Struct, frozen=True):
    """What to write: all labels of backfills, or those of videos that settled at `since` or later."""

    names: Sequence[str]
    target: Target
    format: FormatName
    since: datetime | None


class Exported(Struct, frozen=True):
    """What was written. With `since` set to `goes_on_at` the next export has everything that this one lacks."""

    labels: int
    goes_on_at: datetime


async def export(database: Database, request: Request, shown: Shown) -> Exported:
    """Write the labels as they are at one moment, whatever workers settle meanwhile.

    Raises:
        UsageError: if the file cannot be written, or a backfill is being purged.
        DatabaseError: if the database goes away.

    """
    writer = writer_of(request.format)
    with failure_told(request.target):
        async with opened(request.target) as (file, send_on):
            with writer(file) as write:
                return await _copy(database, request, _told(request.target, write, send_on), shown)


def _told(target: Target, write: Write, send_on: SendOn) -> Callable[[Rows], Awaitable[None]]:
    """Writing that tells its own failures, so that none is taken for the database's."""

    async def write_and_send(rows: Rows) -> None:
        with failure_told(target):
            await to_thread.run_sync(write, rows)
            await send_on()

    return write_and_send


async def _copy(
    database: Database, request: Request, write: Callable[[Rows], Awaitable[None]], shown: Shown
) -> Exported:
    written = 0
    async with snapshot(database, request.names, request.since) as labels, aclosing(labels.batches()) as batches:
        async for rows in batches:
            await write(rows)
            written += len(rows)
            shown(written, labels.labels)
    return Exported(written, labels.at - OVERLAP)

"""What the pages look up: why videos stopped, what one of them shows and when, and which ones show a label."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Struct, json

from worker.store.database import SQL, Database

PAGE = 50  # rows of a list
FEW = 10_000  # videos of a backfill and a time, each of which is looked at
STEPS_TO_SIFT = 2_000  # that one search may take where it looks for a backfill or a time that has more
MOST_PLACES = 50  # of one object
MOST_DETECTIONS = 250_000  # of one job: more than any video has at two samples a second and ten labels each
SUREST = 100.0
_AFTER_ALL = 2**63 - 1


class Position(Struct, frozen=True):
    """Where a search goes on: below this confidence, or at it below this job, or at both behind this label."""

    confidence: float = SUREST
    job_id: int = _AFTER_ALL
    label_id: int = 0


class Wanted(Struct, frozen=True):
    """What is searched for; None is anything."""

    label: str
    confidence: float = 0.0
    backfill: str | None = None
    settled_from: datetime | None = None
    settled_before: datetime | None = None

    @property
    def is_sifted(self) -> bool:
        """True where not every video with the label fits."""
        return any(value is not None for value in (self.backfill, self.settled_from, self.settled_before))


class Found(Struct, frozen=True):
    """A page of a search: the videos, how many were looked at for them, and where to go on, None at the end."""

    videos: list[dict[str, Any]]
    looked_at: int
    next: Position | None


class Archive:
    """Reads only, by indexes only."""

    def __init__(self, database: Database) -> None:
        self._pool = database.pool

    async def stopped(self, backfill: str, reason: str, after_id: int) -> list[dict[str, Any]]:
        """A page of the videos of a backfill that ended without labels for a reason."""
        rows = await self._pool.fetch(SQL["videos_stopped_for_reason"], backfill, reason, after_id, PAGE)
        return [dict(row) for row in rows]

    async def video(self, video_id: int) -> dict[str, Any] | None:
        """One video with what is known of its job."""
        row = await self._pool.fetchrow(SQL["video_by_id"], video_id)
        return None if row is None else {**row, "metadata": json.decode(row["metadata"] or "null")}

    async def places(self, bucket: str, key: str) -> list[dict[str, Any]]:
        """The videos that are this object."""
        return [dict(row) for row in await self._pool.fetch(SQL["videos_of_object"], bucket, key, MOST_PLACES)]

    async def timeline(self, job_id: int) -> list[dict[str, Any]]:
        """A job's labels with the times of their detections in columns, by level, parent and name."""
        return [dict(row) for row in await self._pool.fetch(SQL["timeline_of_job"], job_id, MOST_DETECTIONS)]

    async def content_types(self, job_id: int) -> list[dict[str, Any]]:
        """The kinds of picture that a job's labels were seen in, with their times in columns."""
        return [dict(row) for row in await self._pool.fetch(SQL["content_types_of_job"], job_id, MOST_DETECTIONS)]

    async def dictionary(self) -> list[dict[str, Any]]:
        """Every label that was ever found."""
        return [dict(row) for row in await self._pool.fetch(SQL["dictionary"])]

    async def search(self, wanted: Wanted, position: Position) -> Found:
        """A page of the videos that show a label, the surest first.

        A backfill or a time that few videos have is looked through. Else the walk is along the label, and many of its
        videos have them; it is long only for a label that is all over the archive and hardly in these.
        """
        label_ids = [row["id"] for row in await self._pool.fetch(SQL["labels_by_name"], wanted.label)]
        where = (wanted.backfill, wanted.settled_from, wanted.settled_before)
        statement, steps = "jobs_that_show_label", PAGE
        if wanted.is_sifted:
            is_small = await self._pool.fetchval(SQL["videos_done"], *where, FEW + 1) <= FEW
            statement, steps = ("few_that_show_label", PAGE + 1) if is_small else (statement, STEPS_TO_SIFT)
        after = (position.confidence, position.job_id, position.label_id)
        rows = await self._pool.fetch(SQL[statement], label_ids, wanted.confidence, *after, steps, *where)
        return _page(rows, steps)


def _page(rows: list[asyncpg.Record], steps: int) -> Found:
    """The first of the videos that fit; the search goes on behind the last one shown, or the last one looked at."""
    fitting = [row for row in rows if row["id"] is not None]
    shown = fitting[:PAGE]
    looked_at = rows[-1]["number"] if rows else 0
    last = shown[-1] if len(fitting) > PAGE else rows[-1] if looked_at == steps else None
    position = Position(last["highest_confidence"], last["job_id"], last["label_id"]) if last else None
    return Found([_shown(row) for row in shown], last["number"] if last else looked_at, position)


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("number", "job_id", "label_id")}

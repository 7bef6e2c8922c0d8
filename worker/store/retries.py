"""Videos that ended without labels, tried again: at no risk of paying twice, or by an operator's word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Literal

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from worker.errors import UsageError
from worker.flow.estimate import expected_usd
from worker.model import UNREADABLE, Backfill
from worker.store import audit
from worker.store.database import SQL, Connection, Database, patient
from worker.store.jobs import Jobs

BATCH = 1_000  # videos a transaction

Way = Literal["free", "read", "repay"]
"""How a video can be tried again: nothing was paid for it, its result can still be read, or it may be paid twice."""


class Latest(Struct, frozen=True):
    """The newest job of an identity; `age_seconds` counts from its start, by the database's clock."""

    id: int
    generation: int
    state: str
    failed_at_aws: bool
    is_started: bool
    reason: str | None
    age_seconds: float | None

    @property
    def serves(self) -> bool:
        """True while a video need only be attached to it: it is under way, or has the labels."""
        return self.state in ("intent", "running", "ready", "done")

    @property
    def is_unpaid(self) -> bool:
        """True where AWS refused the start, or said FAILED."""
        return self.state == "failed" and (self.failed_at_aws or not self.is_started)

    def is_readable(self, results_seconds: float) -> bool:
        """True where only our reading failed, and AWS still keeps the result."""
        is_unreadable = self.state == "failed" and (self.reason or "").startswith(UNREADABLE)
        return is_unreadable and self.age_seconds is not None and self.age_seconds < results_seconds


class Stopped(Struct, frozen=True):
    """A video that ended without labels; `latest` is the newest job of its identity, None where none was bought."""

    id: int
    lane_id: int
    state: str
    generation: int
    job_id: int | None
    size_bytes: int | None
    duration_ms: int | None
    latest: Latest | None


class Terms(Struct, frozen=True):
    """What an operator asks for: skipped videos too, and whether to pay again for what may have been paid."""

    results_seconds: float
    with_skipped: bool = False
    accepts_repay: bool = False


class Outlook(Struct, frozen=True):
    """Videos by the way in which they can be tried again, and what buying them is expected to cost in US dollars."""

    free: int = 0
    read: int = 0
    repay: int = 0
    free_usd: float = 0.0
    repay_usd: float = 0.0

    def __add__(self, other: Outlook) -> Outlook:
        return Outlook(*(getattr(self, key) + getattr(other, key) for key in self.__struct_fields__))


def way_of(video: Stopped, results_seconds: float) -> Way:
    """How a video can be tried again. The newest job of its identity decides, whoever has bought it.

    A video without a job was never bought, unless it is uncertain: then a job may be that a restored database forgot.
    """
    latest = video.latest
    if latest is None:
        return "repay" if video.state == "uncertain" else "free"
    if latest.serves or latest.is_unpaid:
        return "free"
    return "read" if latest.is_readable(results_seconds) else "repay"


def next_generation(video: Stopped, results_seconds: float) -> int:
    """The generation in which a video goes back to pending: that of a job which serves it, else a new one."""
    latest = video.latest
    if latest is None:
        return video.generation
    return latest.generation + (not latest.serves and not latest.is_readable(results_seconds))


class Retries:
    """Looks through the videos of a backfill that ended without labels, and tries them again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs = Jobs(database)

    async def outlook(self, backfill: Backfill, terms: Terms) -> Outlook:
        """What a retry would do; changes nothing."""
        found = Outlook()
        rates: dict[int, float | None] = {}
        async for batch in self._batches(backfill, terms):
            for lane_id in {video.lane_id for video in batch} - set(rates):
                rates[lane_id] = (await self._jobs.usual_times(lane_id)).minutes_per_gb
            found += sum((_outlook_of(video, backfill, terms, rates) for video in batch), Outlook())
        return found

    async def retry(self, backfill: Backfill, terms: Terms, outlook: Outlook, who: str) -> int:
        """Try again what the terms allow; returns how many videos wait again.

        Raises:
            UsageError: if the backfill is being purged.

        """
        if outlook.free or outlook.read or (terms.accepts_repay and outlook.repay):
            await self._write_down(backfill, terms, outlook, who)
        waiting = 0
        async for batch in self._batches(backfill, terms):
            waiting += await self._retry_batch(backfill, terms, batch)
        return waiting

    @patient
    async def _write_down(self, backfill: Backfill, terms: Terms, outlook: Outlook, who: str) -> None:
        """Write down what is about to be done, and at what expected cost, before the first video moves."""
        detail = {
            "skipped_too": terms.with_skipped,
            "free_videos": outlook.free,
            "read_again_videos": outlook.read,
            "repaid_videos": outlook.repay if terms.accepts_repay else 0,
            "expected_usd": round(outlook.free_usd + (outlook.repay_usd if terms.accepts_repay else 0.0), 6),
        }
        action = "repay accepted" if terms.accepts_repay and outlook.repay else "retry"
        async with self._database.transaction("write_retry_down") as connection:
            await audit.write(connection, who, action, backfill.name, detail)

    async def _batches(self, backfill: Backfill, terms: Terms) -> AsyncIterator[list[Stopped]]:
        """The videos that a retry is about, a batch after the other in the order of their registration."""
        position, rows = 0, await self._after(backfill, 0)
        while rows:
            position = rows[-1]["id"]
            yield _wanted(rows, terms)
            rows = await self._after(backfill, position)

    @patient
    async def _after(self, backfill: Backfill, position: int) -> list[asyncpg.Record]:
        return await self._database.pool.fetch(SQL["stopped_videos"], backfill.id, position, BATCH, None)

    @patient
    async def _retry_batch(self, backfill: Backfill, terms: Terms, batch: Sequence[Stopped]) -> int:
        """One transaction: jobs are locked before tallies before videos, and looked at anew under the locks."""
        allowed = [video for video in batch if _is_allowed(video, terms)]
        if not allowed:
            return 0
        async with self._database.transaction("retry_batch") as connection:
            job_ids = {i for video in allowed if video.latest for i in (video.job_id, video.latest.id) if i}
            await connection.execute(SQL["lock_jobs"], sorted(job_ids))
            await connection.execute(SQL["lock_tallies_of_retry"], backfill.id, sorted(job_ids))
            if await connection.fetchval(SQL["is_being_purged"], backfill.id):
                raise UsageError(f"backfill {backfill.name} is being purged; its videos are not tried again")
            ids = [video.id for video in allowed]
            rows = await connection.fetch(SQL["stopped_videos"], backfill.id, 0, BATCH, ids)
            videos = [video for video in _wanted(rows, terms) if _is_allowed(video, terms)]
            return await _move(connection, backfill, terms, [v for v in videos if _is_locked(v, job_ids)])


async def _move(connection: Connection, backfill: Backfill, terms: Terms, videos: Sequence[Stopped]) -> int:
    """Open results again that can be read, with the videos that wait for them; the others go back to pending."""
    readable = {v.latest.id for v in videos if v.latest and v.latest.is_readable(terms.results_seconds)}
    again = [video for video in videos if video.job_id not in readable]
    waiting = int(await connection.fetchval(SQL["read_again_if_failed"], sorted(readable), backfill.id))
    return waiting + int(
        await connection.fetchval(
            SQL["retry_stopped"],
            [video.id for video in again],
            [next_generation(video, terms.results_seconds) for video in again],
        )
    )


def _outlook_of(video: Stopped, backfill: Backfill, terms: Terms, rates: dict[int, float | None]) -> Outlook:
    way = way_of(video, terms.results_seconds)
    is_attached = video.latest is not None and video.latest.serves
    usd = 0.0 if is_attached or way == "read" else _usd(video, backfill, rates[video.lane_id])
    match way:
        case "free":
            return Outlook(free=1, free_usd=usd)
        case "read":
            return Outlook(read=1)
        case "repay":
            return Outlook(repay=1, repay_usd=usd)


def _usd(video: Stopped, backfill: Backfill, learned_minutes_per_gb: float | None) -> float:
    """What buying a video is expected to cost, also where the budget's rule reserves the worst case."""
    return expected_usd(
        replace(backfill, is_strict=False),
        size_bytes=video.size_bytes,
        duration_ms=video.duration_ms,
        learned_minutes_per_gb=learned_minutes_per_gb,
    )


def _wanted(rows: Collection[asyncpg.Record], terms: Terms) -> list[Stopped]:
    return [_stopped(row) for row in rows if terms.with_skipped or row["state"] != "skipped"]


def _is_allowed(video: Stopped, terms: Terms) -> bool:
    return terms.accepts_repay or way_of(video, terms.results_seconds) != "repay"


def _is_locked(video: Stopped, job_ids: Collection[int]) -> bool:
    """False where a new generation was bought since the locks were taken: the next retry sees to it."""
    return video.latest is None or video.latest.id in job_ids


def _stopped(row: asyncpg.Record) -> Stopped:
    latest = None
    if row["latest_id"] is not None:
        latest = Latest(
            id=row["latest_id"],
            generation=row["latest_generation"],
            state=row["latest_state"],
            failed_at_aws=row["failed_at_aws"],
            is_started=row["is_started"],
            reason=row["latest_reason"],
            age_seconds=row["age_seconds"],
        )
    return Stopped(
        id=row["id"],
        lane_id=row["lane_id"],
        state=row["state"],
        generation=row["generation"],
        job_id=row["job_id"],
        size_bytes=row["size_bytes"],
        duration_ms=row["duration_ms"],
        latest=latest,
    )

"""The way of a video through the store, step by step, as the stages take it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from worker.config import Moderation
from worker.model import (
    Backfill,
    ContentType,
    Detection,
    Job,
    Label,
    Notice,
    Object,
    Page,
    ResolvedObject,
    Video,
    identity_of,
)
from worker.store.claims import Claimed, Claims, Committed, Estimate, Intent
from worker.store.database import Database
from worker.store.jobs import Jobs, Started
from worker.store.leases import Holder, LaneHolder, Leases
from worker.store.pages import Pages
from worker.store.registry import Registry
from worker.store.reports import Reports

REGION = "us-east-1"
ACCOUNT = "000000000001"
BUCKET = "archive"
SIZE_BYTES = 1_000_000_000
MINUTE_MS = 60_000


class Steps:
    """Every class of the store over one database, and short ways to bring videos as far as a test needs them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = Registry(database)
        self.leases = Leases(database)
        self.claims = Claims(database)
        self.jobs = Jobs(database)
        self.pages = Pages(database)
        self.reports = Reports(database)

    async def own(self, name: str = "main", *, lease_seconds: float = 300.0) -> LaneHolder:
        """Register the lane, if it is new, and take it as a new process."""
        row = await self.leases.register(name, REGION)
        await self.leases.channels(row.id, f"topic-of-{name}", "role")
        owner = await self.leases.acquire(row.id, Holder(uuid.uuid4(), f"worker-of-{name}"), lease_seconds, ACCOUNT)
        assert owner is not None
        return owner

    async def channel(self, owner: LaneHolder) -> int:
        """The lane's newest channel."""
        return int(await self.value("select max(id) from channel where lane_id = $1", owner.lane_id))

    async def backfill(
        self, name: str = "archive", *, budget_usd: float | None = None, priority: int | None = None, **moderation: Any
    ) -> Backfill:
        """Open a backfill."""
        settings = Moderation(**moderation)
        return await self.registry.open_backfill(
            name, settings, priority=priority, budget_usd=budget_usd, who="an operator"
        )

    async def register(
        self, backfill: Backfill, owner: LaneHolder, keys: Iterable[str], *, size_bytes: int | None = SIZE_BYTES
    ) -> int:
        """Register objects by their keys."""
        objects = [(Object(BUCKET, key, size_bytes=size_bytes), owner.lane_id) for key in keys]
        return await self.registry.add(backfill, objects)

    async def claim(
        self, owner: LaneHolder, backfill: Backfill, *, limit: int = 100, after: int = 0, usd: float = 1.0
    ) -> Claimed:
        """Claim pending videos at the same price each."""
        return await self.claims.claim(owner, backfill, after=after, limit=limit, estimate=price(usd))

    async def intend(
        self, owner: LaneHolder, backfill: Backfill, videos: Sequence[Video], *, usd: float = 1.0
    ) -> Committed:
        """Commit the intents of claimed videos."""
        channel = await self.channel(owner)
        intents = [intent_for(video) for video in videos]
        return await self.claims.commit_intents(owner, backfill, channel, intents, price(usd))

    async def start(self, jobs: Sequence[Job], *, due_seconds: float = 600.0) -> None:
        """Confirm the jobs with the JobIds that `aws_job_id` tells."""
        await self.jobs.confirm([Started(job, aws_job_id(job.id), due_seconds) for job in jobs])

    async def intents(self, owner: LaneHolder, backfill: Backfill, keys: Iterable[str]) -> list[Job]:
        """Bring new videos as far as their intents."""
        await self.register(backfill, owner, keys)
        claimed = await self.claim(owner, backfill)
        return (await self.intend(owner, backfill, claimed.videos)).jobs

    async def running(self, owner: LaneHolder, backfill: Backfill, keys: Iterable[str]) -> list[Job]:
        """Bring new videos as far as running jobs."""
        jobs = await self.intents(owner, backfill, keys)
        await self.start(jobs)
        return jobs

    async def ready(self, owner: LaneHolder, backfill: Backfill, keys: Iterable[str]) -> list[int]:
        """Bring new videos as far as ready jobs; returns the ids of the jobs."""
        jobs = await self.running(owner, backfill, keys)
        await self.finish(owner, jobs)
        return [job.id for job in jobs]

    async def finish(self, owner: LaneHolder, jobs: Sequence[Job]) -> None:
        """Hear the notices of running jobs."""
        await self.jobs.mark_finished(owner.lane_id, notices_of(jobs))

    async def done(self, owner: LaneHolder, backfill: Backfill, keys: Iterable[str], *, labels: int = 3) -> list[int]:
        """Bring new videos to their end, each with a page of labels and a minute long."""
        job_ids = await self.ready(owner, backfill, keys)
        await self.pages.write([page(job_id, detections=seen(labels)) for job_id in job_ids])
        return job_ids

    async def value(self, sql: str, *arguments: object) -> Any:
        """One value of the database."""
        return await self.database.pool.fetchval(sql, *arguments)

    async def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        return [tuple(row) for row in await self.database.pool.fetch(sql, *arguments)]

    async def execute(self, sql: str, *arguments: object) -> None:
        """Change the database."""
        await self.database.pool.execute(sql, *arguments)

    async def until_somebody_waits(self) -> None:
        """Return as soon as a statement waits for a row that another transaction has locked."""
        waiting = """select count(*) from pg_stat_activity
                      where wait_event_type = 'Lock' and datname = current_database()"""
        async with asyncio.timeout(10):
            while not await self.value(waiting):
                await asyncio.sleep(0.01)

    async def states(self, backfill: Backfill) -> list[str]:
        """The states of a backfill's videos in the order of their registration."""
        rows = await self.rows("select state from video where backfill_id = $1 order by id", backfill.id)
        return [state for (state,) in rows]

    async def money(self, backfill: Backfill) -> tuple[Decimal, Decimal]:
        """What a backfill has spent and reserved on all lanes, in US dollars."""
        sql = "select sum(spent_usd), sum(reserved_usd) from tally where backfill_id = $1"
        ((spent, reserved),) = await self.rows(sql, backfill.id)
        return spent, reserved


def price(usd: float) -> Estimate:
    """The same expected cost for every video."""
    return lambda _backfill, _size_bytes, _duration_ms: usd


def intent_for(video: Video, *, version_id: str | None = "v1", size_bytes: int = SIZE_BYTES) -> Intent:
    """What HEAD makes of a claimed video; the identity is that of its key and version."""
    named = video.object
    found = ResolvedObject(named.bucket, named.key, version_id, "etag", size_bytes)
    backfill = video.backfill
    identity = identity_of(
        "default", named.bucket, named.key, version_id or "etag", backfill.min_confidence, backfill.edition
    )
    return Intent(video, found, identity)


def aws_job_id(job_id: int) -> str:
    """The JobId that AWS would give."""
    return hashlib.sha256(str(job_id).encode()).hexdigest()


def notices_of(jobs: Sequence[Job]) -> list[Notice]:
    """A completion message of each job."""
    return [Notice(aws_job_id(job.id), "receipt", 1) for job in jobs]


def seen(count: int, *, names: Sequence[str] = ("Weapons", "Alcohol"), from_ms: int = 0) -> list[Detection]:
    """Labels seen one a second, the names in turn, with rising confidence."""
    return [
        Detection(Label(names[i % len(names)], 50.0 + i, "Violence", 2), timestamp_ms=from_ms + 1000 * i)
        for i in range(count)
    ]


def page(
    job_id: int,
    number: int = 1,
    *,
    detections: Sequence[Detection] = (),
    next_token: str | None = None,
    duration_ms: int | None = MINUTE_MS,
) -> Page:
    """A page of a job; the last one unless a next token is given."""
    return Page(
        job_id=job_id,
        number=number,
        next_token=next_token,
        detections=list(detections),
        follows=_digest(job_id, number - 1) if number > 1 else b"",
        digest=_digest(job_id, number),
        model_version="7.0",
        duration_ms=duration_ms,
        metadata={"Codec": "h264", "DurationMillis": duration_ms},
    )


def _digest(job_id: int, number: int) -> bytes:
    return hashlib.sha256(f"{job_id} {number}".encode()).digest()


def segment(name: str, start_ms: int, end_ms: int) -> Detection:
    """A label as SEGMENTS tells it, with a content type."""
    return Detection(Label(name, 99.5), start_ms=start_ms, end_ms=end_ms, content_types=[ContentType("Animated", 80.0)])

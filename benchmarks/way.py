"""The way of a video's rows from pending to done, by the worker's own classes, in batches as a fast lane makes them."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
from msgspec import Struct

from benchmarks.rig import DEPLOYMENT, LANE, REGION
from worker.config import Moderation
from worker.flow.estimate import expected_usd
from worker.local.analysts.taxonomy import TAXONOMY
from worker.model import Backfill, Detection, Job, Label, Notice, Page, ReadyJob, ResolvedObject, Video, identity_of
from worker.pipeline.claim import LARGEST_CLAIM, SECONDS_AHEAD
from worker.pipeline.complete import LATELY_SECONDS, MARKS_APART_SECONDS, MARKS_AT_ONCE, OVERDUE_AT_ONCE
from worker.pipeline.fetch import READERS
from worker.pipeline.start import CONFIRMS_APART_SECONDS, CONFIRMS_AT_ONCE
from worker.pipeline.write import GROUPS_APART_SECONDS, PAGE_ROWS, ROWS_AT_ONCE, WRITERS
from worker.store.claims import Claims, Intent
from worker.store.database import SESSION, Database
from worker.store.guards import Guards
from worker.store.jobs import Jobs, Started
from worker.store.leases import Holder, LaneHolder, Leases
from worker.store.pages import Pages
from worker.store.registry import Registry
from worker.store.reports import Reports

T = TypeVar("T")

STARTS_PER_SECOND = 200.0
BACKFILL = "archive"
LABELS_A_JOB = 5
DURATION_MS = 100_000
DUE_SECONDS = 600.0
LEASE_SECONDS = 86_400.0  # nobody renews it here
PAGE_TOKEN_SECONDS = 86_400.0
ACCOUNT = "000000000001"
MOST_QUERIES = 10**9  # of one connection, or the pool would open another one
CLAIMING = ("claim", "intend")
SETTLING = ("confirm", "mark", "take", "write")


def gathered(size: int, apart_seconds: float, sharers: int = 1) -> int:
    """How many items a stage of that lane finds in a batch of its own, where they come evenly."""
    return min(size, int(STARTS_PER_SECOND / sharers * apart_seconds))


CLAIMED_AT_ONCE = min(LARGEST_CLAIM, round(STARTS_PER_SECOND * SECONDS_AHEAD))
CONFIRMED_AT_ONCE = gathered(CONFIRMS_AT_ONCE, CONFIRMS_APART_SECONDS)
MARKED_AT_ONCE = gathered(MARKS_AT_ONCE, MARKS_APART_SECONDS)
WRITTEN_AT_ONCE = gathered(ROWS_AT_ONCE // (PAGE_ROWS + LABELS_A_JOB), GROUPS_APART_SECONDS, WRITERS)
AT_ONCE = {
    "claim": CLAIMED_AT_ONCE,
    "intend": CLAIMED_AT_ONCE,
    "confirm": CONFIRMED_AT_ONCE,
    "mark": MARKED_AT_ONCE,
    "take": MARKED_AT_ONCE,
    "write": WRITTEN_AT_ONCE,
}


class Cost(Struct):
    """Nanoseconds: wall time of the program, and the server's processor time for it."""

    wall: int = 0
    server: int = 0


class Way:
    """A lane in one database; its only connection belongs to the server's process `pid`."""

    def __init__(self, database: Database, pid: int, owner: LaneHolder, channel_id: int) -> None:
        self.database = database
        self.owner = owner
        self.costs: dict[str, Cost] = {}
        self._pid = pid
        self._channel_id = channel_id
        self._claims = Claims(database)
        self._jobs = Jobs(database)
        self._pages = Pages(database)
        self._position = 0
        self._unwritten: list[ReadyJob] = []

    async def go(self, videos: int) -> dict[str, Cost]:
        """Bring so many videos from pending to done; what it took by step."""
        self.costs = {}
        for _ in range(videos // CLAIMED_AT_ONCE):
            jobs = await self._claim()
            for started in _parts(jobs, CONFIRMED_AT_ONCE):
                with self.step("confirm"):
                    await self._jobs.confirm([Started(job, aws_job_id(job), DUE_SECONDS) for job in started])
            for finished in _parts(jobs, MARKED_AT_ONCE):
                await self._finish(finished)
            await self._write(self._unwritten)
            self._unwritten = []
        return self.costs

    async def _claim(self) -> list[Job]:
        with self.step("claim"):
            (backfill,) = await self._claims.claimable(self.owner.lane_id)
            claimed = await self._claims.claim(
                self.owner, backfill, after=self._position, limit=CLAIMED_AT_ONCE, estimate=_estimate
            )
        self._position = claimed.position
        intents = [_intent(video) for video in claimed.videos]
        with self.step("intend"):
            committed = await self._claims.commit_intents(self.owner, backfill, self._channel_id, intents, _estimate)
        assert len(committed.jobs) == CLAIMED_AT_ONCE, f"a claim brought {len(committed.jobs)} jobs"
        return committed.jobs

    async def _finish(self, jobs: Sequence[Job]) -> None:
        """Hear that jobs are finished, read them, and write as many pages as make whole groups."""
        with self.step("mark"):
            marked = await self._jobs.mark_finished(self.owner.lane_id, [_notice(job) for job in jobs])
        with self.step("take"):
            self._unwritten += await self._jobs.ready_of(
                self.owner.lane_id, marked.job_ids, page_token_seconds=PAGE_TOKEN_SECONDS
            )
        whole = len(self._unwritten) // WRITTEN_AT_ONCE * WRITTEN_AT_ONCE
        await self._write(self._unwritten[:whole])
        del self._unwritten[:whole]

    async def _write(self, jobs: Sequence[ReadyJob]) -> None:
        for group in _parts(jobs, WRITTEN_AT_ONCE):
            pages = [_page(job) for job in group]
            with self.step("write"):
                written = await self._pages.write(pages)
            assert len(written.settled) == len(group), f"{len(written.settled)} of {len(group)} jobs were settled"

    async def do_duties(self) -> dict[str, Cost]:
        """Do once whatever a worker or an operator does now and then; what it took."""
        self.costs = {}
        for name, duty in self._duties().items():
            with self.step(name):
                await duty()
        return self.costs

    def _duties(self) -> dict[str, Callable[[], Awaitable[object]]]:
        lane_id, jobs = self.owner.lane_id, self._jobs
        guards, reports, registry = Guards(self.database), Reports(self.database), Registry(self.database)
        return {
            "claimable": lambda: self._claims.claimable(lane_id),
            "progress": lambda: registry.progress(BACKFILL),
            "mark_overdue": lambda: jobs.mark_overdue(lane_id, OVERDUE_AT_ONCE, within_seconds=LATELY_SECONDS),
            "mark_overdue, all": lambda: jobs.mark_overdue(lane_id, OVERDUE_AT_ONCE),
            "ready": lambda: jobs.ready(lane_id, in_hand=[], limit=READERS, page_token_seconds=PAGE_TOKEN_SECONDS),
            "books": reports.books,
            "pause_failing": guards.pause_failing,
            "usual_times": lambda: jobs.usual_times(lane_id),
            "recover": lambda: self._claims.recover(self.owner, []),
            "unread": lambda: jobs.unread(lane_id),
            "oldest_result": lambda: guards.oldest_result_seconds(lane_id),
            "status": reports.status,
        }

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Charge what is done within to that step."""
        server, wall = self._server_ns(), time.perf_counter_ns()
        yield
        cost = self.costs.setdefault(name, Cost())
        cost.wall += time.perf_counter_ns() - wall
        cost.server += self._server_ns() - server

    def _server_ns(self) -> int:
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0])


@asynccontextmanager
async def open_way(url: str) -> AsyncIterator[Way]:
    """Take the lane of a database over one connection."""
    lasting = {"max_queries": MOST_QUERIES, "max_inactive_connection_lifetime": 0}
    async with asyncpg.create_pool(url, min_size=1, max_size=1, server_settings=SESSION, **lasting) as pool:
        database = Database(pool, url)
        pid = await pool.fetchval("select pg_backend_pid()")
        leases = Leases(database)
        row = await leases.register(LANE, REGION)
        (channel,) = await leases.channels(row.id, "topic", "role")
        owner = await leases.acquire(row.id, Holder(uuid.uuid4(), "benchmark"), LEASE_SECONDS, ACCOUNT)
        assert owner is not None, "the lane is owned already"
        yield Way(database, pid, owner, channel.id)
        await leases.release(owner)


async def opened_backfill(database: Database) -> Backfill:
    """The backfill that the videos are registered in."""
    return await Registry(database).open_backfill(
        BACKFILL, Moderation(), priority=None, budget_usd=None, who="benchmark"
    )


def aws_job_id(job: Job) -> str:
    """A JobId as AWS gives them: 64 digits in no order."""
    return hashlib.sha256(f"benchmark {job.id}".encode()).hexdigest()


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _estimate(backfill: Backfill, size_bytes: int | None, duration_ms: int | None) -> float:
    return expected_usd(backfill, size_bytes=size_bytes, duration_ms=duration_ms, learned_minutes_per_gb=None)


def _intent(video: Video) -> Intent:
    """What HEAD would make of it."""
    named, backfill = video.object, video.backfill
    found = ResolvedObject(named.bucket, named.key, f"version-of-{video.id}", named.etag or "", named.size_bytes or 0)
    identity = identity_of(
        DEPLOYMENT, found.bucket, found.key, found.version_id or "", backfill.min_confidence, backfill.edition
    )
    return Intent(video, found, identity)


def _notice(job: Job) -> Notice:
    return Notice(aws_job_id(job), "receipt", 1)


def _page(job: ReadyJob) -> Page:
    """The only page of a job with a few labels."""
    labels = [Label(label.name, 80.0, label.parent, label.level) for label in TAXONOMY[:LABELS_A_JOB]]
    return Page(
        job_id=job.id,
        number=1,
        next_token=None,
        detections=[Detection(label, timestamp_ms=500 * n) for n, label in enumerate(labels)],
        follows=b"",
        digest=hashlib.sha256(job.aws_job_id.encode()).digest(),
        model_version="7.0",
        duration_ms=DURATION_MS,
        metadata={"Codec": "h264", "DurationMillis": DURATION_MS},
    )

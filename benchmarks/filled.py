"""The local service's database as a long run leaves it: filled by the service's own functions, not over HTTP."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from msgspec import Struct, structs

from worker.local.moderation.endings import timed_ending
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Job, NewJob
from worker.local.storage.objects import StoredObject

JOBS_IN_A_WRITE = 20_000
SEED = 1  # of benchmarks.service's analyst
HOUR_MS = 3_600_000


class Owner(Struct, frozen=True):
    """Whose jobs they are, and what they are told of."""

    account: str
    region: str
    bucket: str
    topic_arn: str


class Filled(Struct, frozen=True):
    """JobIds in the order of their starts."""

    finished: list[str]
    running: list[str]


async def fill(path: Path, owner: Owner, videos: list[StoredObject], finished: int, running: int) -> Filled:
    """Make a database of so many finished jobs, and of running ones that take a day yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(path, 1.0)
    made = _new_jobs(owner, videos, time.time_ns() // 1_000_000)
    job_ids: list[str] = []
    try:
        while len(job_ids) < finished + running:
            still_finished = max(0, finished - len(job_ids))
            group = list(islice(made, min(JOBS_IN_A_WRITE, still_finished or finished + running - len(job_ids))))
            first_number = len(job_ids) + 1
            await database.write(lambda connection: _insert(connection, group, first_number, end=still_finished > 0))  # noqa: B023 (it is run before the next turn)
            job_ids += [job.job_id for job in group]
    finally:
        await database.close()
    return Filled(job_ids[:finished], job_ids[finished:])


def _insert(connection: sqlite3.Connection, group: list[NewJob], first_number: int, *, end: bool) -> None:
    for number, new in enumerate(group, first_number):
        jobs.insert(connection, new)
        if end:
            job = Job(*structs.astuple(new), number, jobs.IN_PROGRESS, None, None, 0.0)
            jobs.finish(connection, job, timed_ending(60_000, None, new.started_at_ms + 1000))


def _new_jobs(owner: Owner, videos: list[StoredObject], now_ms: int) -> Iterator[NewJob]:
    for number, video in enumerate(cycle(videos)):
        yield NewJob(
            job_id=secrets.token_hex(32),
            account=owner.account,
            region=owner.region,
            bucket=owner.bucket,
            key=video.key,
            version_id=None,
            size_bytes=video.size_bytes,
            min_confidence=50.0,
            token=f"{number:032x}",
            tag=f"{number}",
            topic_arn=owner.topic_arn,
            started_at_ms=now_ms - 2 * HOUR_MS,
            ends_at_ms=now_ms + 24 * HOUR_MS,
            seed=SEED,
        )

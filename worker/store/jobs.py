"""Jobs from the intent to the moment when their pages wait: every statement a fact, harmless to repeat."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from worker.flow.clock import now_seconds
from worker.model import Channel, Failure, Job, Notice, ReadyJob, VideoState
from worker.store.database import SQL, Database, patient, storable


class Started(Struct, frozen=True):
    """A JobId that AWS gave, to be recorded; without a notice the job is asked for after `due_seconds`."""

    job: Job
    aws_job_id: str
    due_seconds: float


class Marked(Struct, frozen=True):
    """What notices did: jobs now ready, and the JobIds that are known here (ready already, or settled)."""

    job_ids: list[int]
    known: set[str]


class UsualTimes(Struct, frozen=True):
    """What the lane's latest jobs took; None until there are enough of them."""

    run_seconds: float | None
    minutes_per_gb: float | None
    pages: float | None = None  # of a result, on average


class Aside(Struct, frozen=True):
    """A page that could not be read or stored: its number, and what came of it."""

    number: int
    body: bytes


ENOUGH_JOBS = 20  # below it a quantile says nothing
MOST_QUARANTINED = 10_000  # messages of a lane, of both its queues
LONGEST_BODY = 16_384  # symbols of a message that nobody could read
LONGEST_ID = 256  # symbols; SQS's own have 36
LONGEST_ASIDE_BYTES = 1 << 20  # of a page that is kept aside; true ones of 1,000 labels have a third of it


def as_job(row: asyncpg.Record, *, is_replay: bool) -> Job:
    """A row of an intent as the start stage needs it."""
    return Job(
        id=row["id"],
        tag=row["tag"],
        token=row["token"],
        bucket=row["bucket"],
        key=row["key"],
        version_id=row["version_id"],
        min_confidence=row["min_confidence"],
        channel=Channel(row["channel_id"], row["topic_arn"], row["role_arn"]),
        intent_at=now_seconds() - row["age_seconds"],
        is_replay=is_replay,
    )


class Jobs:
    """Jobs of one lane after another."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def intents(self, lane_id: int) -> list[Job]:
        """Intents that an earlier owner left: they may have been sent, so each is a replay."""
        rows = await self._database.pool.fetch(SQL["intents_of_lane"], lane_id)
        return [as_job(row, is_replay=True) for row in rows]

    @patient
    async def running(self, lane_id: int) -> set[int]:
        """Jobs that AWS is working on. Intents may be too, and take their slots when they are replayed."""
        return {row["id"] for row in await self._database.pool.fetch(SQL["running_jobs_of_lane"], lane_id)}

    @patient
    async def move_to_channel(self, job_id: int, channel_id: int) -> None:
        """Record the channel under which AWS knows the job's token."""
        await self._database.commit("move_intent_to_channel", job_id, channel_id)

    @patient
    async def confirm(self, started: Sequence[Started]) -> None:
        """Record JobIds."""
        await self._database.commit(
            "confirm_starts",
            [item.job.id for item in started],
            [item.job.tag for item in started],
            [item.aws_job_id for item in started],
            [item.due_seconds for item in started],
        )

    @patient
    async def mark_finished(self, lane_id: int, notices: Sequence[Notice]) -> Marked:
        """Make the jobs ready that the notices name."""
        names = [notice.aws_job_id for notice in notices]
        rows = await self._database.commit("mark_finished", lane_id, names)
        return Marked([row["id"] for row in rows if row["is_marked"]], {row["aws_job_id"] for row in rows})

    @patient
    async def mark_overdue(self, lane_id: int, limit: int, *, within_seconds: float | None = None) -> list[int]:
        """Make jobs ready whose notice is late: all, or those whose time came within so many seconds."""
        return [row["id"] for row in await self._database.commit("mark_overdue", lane_id, limit, within_seconds)]

    @patient
    async def wait_longer(self, job_id: int, seconds: float) -> None:
        """Put a job back that is still in progress."""
        await self._database.commit("wait_longer_if_unread", job_id, seconds)

    @patient
    async def ready(
        self, lane_id: int, *, in_hand: Sequence[int], limit: int, page_token_seconds: float
    ) -> list[ReadyJob]:
        """Jobs whose pages wait, oldest first; a page token that has outlived its time is left out."""
        rows = await self._database.pool.fetch(SQL["ready_jobs"], lane_id, list(in_hand), limit)
        return [_ready(row, page_token_seconds) for row in rows]

    @patient
    async def ready_of(self, lane_id: int, job_ids: Sequence[int], *, page_token_seconds: float) -> list[ReadyJob]:
        """Those of these jobs whose pages wait, oldest first; without page tokens that have outlived their time."""
        rows = await self._database.pool.fetch(SQL["ready_jobs_of"], lane_id, list(job_ids))
        return [_ready(row, page_token_seconds) for row in rows]

    @patient
    async def usual_times(self, lane_id: int) -> UsualTimes:
        """What the lane's latest jobs took."""
        row = await self._database.pool.fetchrow(SQL["usual_times"], lane_id)
        if row is None:
            return UsualTimes(None, None)
        run_seconds = row["seconds"] if row["noticed_jobs"] >= ENOUGH_JOBS else None
        if row["jobs"] < ENOUGH_JOBS:
            return UsualTimes(run_seconds, None)
        return UsualTimes(run_seconds, row["minutes_per_gb"], row["pages"])

    @patient
    async def unread(self, lane_id: int) -> int:
        """How many results there are to be read, now or as soon as they are finished."""
        return int(await self._database.pool.fetchval(SQL["unread_results"], lane_id))

    @patient
    async def quarantine(self, lane_id: int, message_id: str, body: str, reason: str) -> bool:
        """Keep a message that nobody could read; false if the lane has too many of them already."""
        kept = storable(body)[:LONGEST_BODY]
        kept_id = storable(message_id)[:LONGEST_ID]
        told = (lane_id, kept_id, kept, storable(reason), MOST_QUARANTINED)
        return bool(await self._database.commit("quarantine_notice", *told))

    @patient
    async def fail(self, failure: Failure, aside: Aside | None = None) -> list[VideoState]:
        """End a job without labels, and keep the page that is to blame; returns the states that its videos moved to."""
        async with self._database.transaction("fail") as connection:
            await connection.execute(SQL["lock_jobs"], [failure.job_id])
            rows = await connection.fetch(
                SQL["settle_without_labels"],
                failure.job_id,
                failure.state,
                storable(failure.reason),
                failure.video_state,
                failure.worth_another,
                failure.at_aws,
            )
            if aside:
                kept = aside.body[:LONGEST_ASIDE_BYTES]
                await connection.execute(
                    SQL["keep_page_aside"],
                    failure.job_id,
                    aside.number,
                    storable(failure.reason),
                    len(aside.body),
                    kept,
                )
        return [row["state"] for row in rows]

    @patient
    async def drop_pages(self, job_id: int) -> None:
        """Forget what was read of a job."""
        async with self._database.transaction("drop_pages") as connection:
            await connection.execute(SQL["lock_jobs"], [job_id])
            await connection.execute(SQL["drop_pages"], job_id)


def _ready(row: asyncpg.Record, page_token_seconds: float) -> ReadyJob:
    is_fresh = row["page_token_age_seconds"] is not None and row["page_token_age_seconds"] < page_token_seconds
    return ReadyJob(
        id=row["id"],
        aws_job_id=row["aws_job_id"],
        tag=row["tag"],
        bucket=row["bucket"],
        key=row["key"],
        version_id=row["version_id"],
        etag=row["etag"],
        aggregate_by=row["aggregate_by"],
        next_page=row["next_page"],
        next_token=row["next_token"] if is_fresh else None,
        digest=row["digest"] or b"",
        detections=row["detections"],
        asked=row["asked"],
        started_at=now_seconds() - row["age_seconds"],
    )

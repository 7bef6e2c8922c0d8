"""The database refuses every combination of state and columns that cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

NOW = datetime(2025, 1, 1, tzinfo=UTC)
MONEY = Decimal("0.10")

Row = dict[str, Any]

VIDEO: Row = {"backfill_id": 1, "lane_id": 1, "bucket": "archive", "key": "a.mp4"}
JOB: Row = {
    "video_id": 1,
    "backfill_id": 1,
    "lane_id": 1,
    "channel_id": 1,
    "generation": 1,
    "size_bytes": 1000,
    "aggregate_by": "TIMESTAMPS",
    "min_confidence": 50.0,
    "identity": bytes(32),
    "tag": "mw1.tag",
    "token": "token",
    "bucket": "archive",
    "key": "a.mp4",
}

SETTLED: Row = {"claimed_at": NOW, "settled_at": NOW}
STOPPED: Row = {**SETTLED, "reason": "why"}

VIDEOS: dict[str, Row] = {
    "pending": {},
    "active": {"claimed_at": NOW, "reserved_usd": MONEY},
    "done": {**SETTLED, "job_id": 1},
    "failed": STOPPED,
    "skipped": STOPPED,
    "uncertain": {**STOPPED, "job_id": 1},
    "expired": {**STOPPED, "job_id": 1},
}
"""State -> the columns that it needs beyond those of every video."""

RUNNING: Row = {"aws_job_id": "aws", "started_at": NOW, "due_at": NOW, "reserved_usd": MONEY}
READY: Row = {**RUNNING, "ready_at": NOW}

JOBS: dict[str, Row] = {
    "intent": {"reserved_usd": MONEY},
    "running": RUNNING,
    "ready": {**READY, "next_page": 3, "next_token": "more"},
    "done": {**READY, "settled_at": NOW, "reserved_usd": 0, "cost_usd": MONEY},
    "failed": {"settled_at": NOW, "reason": "why"},
    "expired": {"settled_at": NOW, "reason": "why", "aws_job_id": "aws"},
    "uncertain": {"settled_at": NOW, "reason": "why"},
}
"""State -> the columns that it needs beyond those of every job."""

IMPOSSIBLE_VIDEOS: list[tuple[str, Row]] = [
    ("pending", {"job_id": 1}),
    ("pending", {"settled_at": NOW}),
    ("pending", {"reserved_usd": MONEY}),
    ("pending", {"reason": "why"}),
    ("active", {"claimed_at": None}),
    ("active", {"settled_at": NOW}),
    ("active", {"reason": "why"}),
    ("active", {"job_id": 1}),  # the job holds the reservation then
    ("done", {"job_id": None}),
    ("done", {"settled_at": None}),
    ("done", {"reason": "why"}),
    ("done", {"reserved_usd": MONEY}),
    ("failed", {"reason": None}),
    ("failed", {"settled_at": None}),
    ("failed", {"reserved_usd": MONEY}),
    ("skipped", {"reason": None}),
    ("skipped", {"settled_at": None}),
    ("skipped", {"reserved_usd": MONEY}),
    ("uncertain", {"reason": None}),
    ("uncertain", {"settled_at": None}),
    ("uncertain", {"reserved_usd": MONEY}),
    ("expired", {"reason": None}),
    ("expired", {"settled_at": None}),
    ("expired", {"job_id": None}),
    ("expired", {"reserved_usd": MONEY}),
    ("running", {}),  # a state of jobs
    ("", {}),
]

IMPOSSIBLE_JOBS: list[tuple[str, Row]] = [
    ("intent", {"aws_job_id": "aws"}),
    ("intent", {"settled_at": NOW}),
    ("intent", {"reason": "why"}),
    ("intent", {"cost_usd": MONEY}),
    ("running", {"aws_job_id": None}),
    ("running", {"started_at": None}),
    ("running", {"due_at": None}),
    ("running", {"settled_at": NOW}),
    ("running", {"reason": "why"}),
    ("running", {"cost_usd": MONEY}),
    ("ready", {"aws_job_id": None}),
    ("ready", {"started_at": None}),
    ("ready", {"ready_at": None}),
    ("ready", {"settled_at": NOW}),
    ("ready", {"reason": "why"}),
    ("ready", {"cost_usd": MONEY}),
    ("done", {"aws_job_id": None}),
    ("done", {"started_at": None}),
    ("done", {"ready_at": None}),
    ("done", {"settled_at": None}),
    ("done", {"reason": "why"}),
    ("done", {"reserved_usd": MONEY}),
    ("done", {"next_token": "more"}),
    ("failed", {"reason": None}),
    ("failed", {"settled_at": None}),
    ("failed", {"reserved_usd": MONEY}),
    ("expired", {"reason": None}),
    ("expired", {"settled_at": None}),
    ("expired", {"aws_job_id": None}),
    ("expired", {"reserved_usd": MONEY}),
    ("uncertain", {"reason": None}),
    ("uncertain", {"settled_at": None}),
    ("uncertain", {"reserved_usd": MONEY}),
    ("pending", {}),  # a state of videos
    ("", {}),
]

OUT_OF_RANGE: list[tuple[str, Row]] = [
    ("video", {**VIDEO, "claims": -1}),
    ("video", {**VIDEO, "size_bytes": -1}),
    ("video", {**VIDEO, "duration_ms": -1}),
    ("video", {**VIDEO, "state": "active", "claimed_at": NOW, "reserved_usd": -MONEY}),
    ("job", {**JOB, "reserved_usd": -MONEY}),
    ("job", {**JOB, "identity": b"short"}),
    ("job", {**JOB, "aggregate_by": "FRAMES"}),
    ("tally", {"backfill_id": 1, "lane_id": 1, "pending": -1}),
    ("tally", {"backfill_id": 1, "lane_id": 1, "active": -1}),
    ("tally", {"backfill_id": 1, "lane_id": 1, "reserved_usd": -MONEY}),
    ("tally", {"backfill_id": 1, "lane_id": 1, "spent_usd": -MONEY}),
    ("lane", {"name": "held without an account", "region": "us-east-1", "holder": "a" * 32}),
]


def named(case: tuple[str, Row]) -> str:
    """A test's name: the state, and the column that is wrong."""
    state, wrong = case
    return f"{state or 'empty'}-{next(iter(wrong), 'state')}"


@pytest.fixture
async def connection(module_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with a lane, a channel and a backfill; whatever is done is undone."""
    connection = await asyncpg.connect(module_database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("""
        insert into lane (id, name, region) overriding system value values (1, 'main', 'us-east-1');
        insert into channel (id, lane_id, topic_arn, role_arn) overriding system value values (1, 1, 'topic', 'role');
        insert into backfill (id, name, min_confidence, edition, aggregate_by, price_usd_per_minute,
                              expected_minutes_per_gb, budget_rule, max_generations)
        overriding system value values (1, 'archive', 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2);
    """)
    yield connection
    await transaction.rollback()
    await connection.close()


async def insert(connection: asyncpg.Connection, table: str, row: Row) -> None:
    """Insert a row with these columns."""
    places = ", ".join(f"${i}" for i in range(1, len(row) + 1))
    await connection.execute(f"insert into {table} ({', '.join(row)}) values ({places})", *row.values())


@pytest.mark.parametrize("state", VIDEOS)
async def test_every_state_of_a_video_is_possible(connection: asyncpg.Connection, state: str):
    """A video with what its state needs is accepted."""
    await insert(connection, "video", {**VIDEO, "state": state, **VIDEOS[state]})


@pytest.mark.parametrize("state", JOBS)
async def test_every_state_of_a_job_is_possible(connection: asyncpg.Connection, state: str):
    """A job with what its state needs is accepted."""
    await insert(connection, "job", {**JOB, "state": state, **JOBS[state]})


@pytest.mark.parametrize(("state", "wrong"), IMPOSSIBLE_VIDEOS, ids=map(named, IMPOSSIBLE_VIDEOS))
async def test_impossible_video_is_refused(connection: asyncpg.Connection, state: str, wrong: Row):
    """One wrong column, and the check refuses the video."""
    with pytest.raises(asyncpg.CheckViolationError, match="video_state"):
        await insert(connection, "video", {**VIDEO, "state": state, **VIDEOS.get(state, {}), **wrong})


@pytest.mark.parametrize(("state", "wrong"), IMPOSSIBLE_JOBS, ids=map(named, IMPOSSIBLE_JOBS))
async def test_impossible_job_is_refused(connection: asyncpg.Connection, state: str, wrong: Row):
    """One wrong column, and the check refuses the job."""
    with pytest.raises(asyncpg.CheckViolationError, match="job_state"):
        await insert(connection, "job", {**JOB, "state": state, **JOBS.get(state, {}), **wrong})


@pytest.mark.parametrize(
    ("table", "row"), OUT_OF_RANGE, ids=[f"{table}-{next(reversed(row))}" for table, row in OUT_OF_RANGE]
)
async def test_value_out_of_range_is_refused(connection: asyncpg.Connection, table: str, row: Row):
    """No sum, count or size is negative, and no lane is held without an account."""
    with pytest.raises(asyncpg.CheckViolationError):
        await insert(connection, table, row)


async def test_object_is_bought_once_a_generation(connection: asyncpg.Connection):
    """A second job of the same identity and generation cannot be."""
    await insert(connection, "job", JOB)
    await insert(connection, "job", {**JOB, "generation": 2})
    with pytest.raises(asyncpg.UniqueViolationError, match="identity_generation"):
        await insert(connection, "job", JOB)


async def test_aws_job_belongs_to_one_job_of_a_lane(connection: asyncpg.Connection):
    """A JobId is recorded for one job of a lane at most."""
    await insert(connection, "job", {**JOB, "state": "running", **RUNNING})
    with pytest.raises(asyncpg.UniqueViolationError, match="job_by_aws_job_id"):
        await insert(connection, "job", {**JOB, "identity": bytes([1]) * 32, "state": "running", **RUNNING})


async def test_object_without_a_version_is_one_video_of_a_backfill(connection: asyncpg.Connection):
    """Two videos of a backfill never name the same object, even where it has no version."""
    await insert(connection, "video", VIDEO)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(connection, "video", VIDEO)


async def test_database_belongs_to_one_deployment(connection: asyncpg.Connection):
    """There is no second row of the deployment."""
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(connection, "deployment", {"name": "another"})

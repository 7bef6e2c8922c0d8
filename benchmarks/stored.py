"""A database as months of work leave it: settled jobs with their videos, detections and summaries; videos that wait."""

from __future__ import annotations

import asyncpg

LABELS_A_JOB = 1000  # where it does not matter how many
FIRST_UNSTORED = 10_000_000  # job and video ids from here on are left to the worker: what is stored is older

STORE = (
    """
    insert into backfill (name, min_confidence, edition, aggregate_by, price_usd_per_minute, expected_minutes_per_gb,
                          budget_rule, max_generations)
    values ('stored', 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2)
    """,
    """
    create temporary table stored as
    select g as id, b.id as backfill_id, l.id as lane_id, c.id as channel_id,
           clock_timestamp() - make_interval(secs => 86400 + {jobs} - g) as at
      from generate_series(1, {jobs}) g, backfill b, lane l, channel c where b.name = 'stored'
    """,
    """
    insert into video (id, job_id, claim_order, size_bytes, registered_at, claimed_at, settled_at, backfill_id, lane_id,
                       state, bucket, key, version_id)
    overriding system value
    select id, id, id, 1000000000, at, at, at, backfill_id, lane_id, 'done', 'stored-archive', id || '.mp4', 'v' || id
      from stored
    """,
    """
    insert into job (id, size_bytes, intent_at, started_at, due_at, ready_at, settled_at, detections, duration_ms,
                     video_id, backfill_id, next_page, lane_id, channel_id, generation, state, aggregate_by,
                     min_confidence, cost_usd, identity, digest, tag, token, bucket, key, version_id, aws_job_id,
                     is_noticed, model_version)
    overriding system value
    select id, 1000000000, at, at, at, at, at, {labels}, 100000, id, backfill_id, 2, lane_id, channel_id, 1, 'done',
           'TIMESTAMPS', 50, 0.17, sha256(id::text::bytea), sha256(id::text::bytea), 'tag' || id, 'token' || id,
           'stored-archive', id || '.mp4', 'v' || id, encode(sha256(('aws' || id)::bytea), 'hex'), true, '7.0'
      from stored
    """,
    """
    insert into detection (job_id, confidence, timestamp_ms, label_id)
    select id, 50 + n % 5000 / 100.0, n % {labels} / 5 * 500, 1 + (id + n) % 12
      from stored, generate_series(id * {labels}, (id + 1) * {labels} - 1) n
    """,
    """
    insert into job_label (job_id, label_id, detections, highest_confidence, first_ms, last_ms)
    select job_id, label_id, count(*), max(confidence), min(timestamp_ms), max(timestamp_ms)
      from detection group by job_id, label_id
    """,
    """
    insert into tally (backfill_id, lane_id, done, labels)
    select backfill_id, lane_id, count(*), count(*) * {labels} from stored group by 1, 2
    """,
    "drop table stored",
    "vacuum analyze",
)

REGISTER = (
    """
    insert into video (size_bytes, backfill_id, lane_id, bucket, key, etag)
    select 100000000 + n, {backfill}, {lane}, 'archive',
           '2026/camera-' || to_char(n / 1000, 'FM000000') || '/' || to_char(n, 'FM000000000') || '.mp4', md5(n::text)
      from generate_series(0, {videos} - 1) n
    """,
    """
    insert into tally (backfill_id, lane_id, pending) values ({backfill}, {lane}, {videos})
    on conflict (backfill_id, lane_id) do update set pending = tally.pending + excluded.pending
    """,
    "vacuum analyze",
)


async def leave_room(connection: asyncpg.Connection) -> None:
    """Have the worker's ids begin after those that `store` uses."""
    await connection.execute(f"select setval('job_id_seq', {FIRST_UNSTORED}), setval('video_id_seq', {FIRST_UNSTORED})")


async def store(connection: asyncpg.Connection, *, jobs: int, labels: int) -> None:
    """Fill the database with that many settled jobs, each with so many labels."""
    for statement in STORE:
        await connection.execute(statement.format(jobs=jobs, labels=labels))


async def register(connection: asyncpg.Connection, backfill_id: int, lane_id: int, videos: int) -> None:
    """Register that many videos in the order of their keys, as a listing brings them."""
    for statement in REGISTER:
        await connection.execute(statement.format(backfill=backfill_id, lane=lane_id, videos=videos))

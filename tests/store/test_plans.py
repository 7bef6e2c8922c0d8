"""What runs once a call, claim or batch finds its rows by an index, amid a hundred thousand settled videos."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.postgres import connected, drop_database, fresh_database
from worker.store.database import SQL, Database, open_database

VIDEOS = 100_000
BIG = {"video", "job", "detection", "job_label"}
"""Tables that grow with the archive: none of them may be read from end to end."""

OF_A_STATE = {"video_pending", "video_claimed", "job_intents", "job_due", "job_ready"}
"""Indexes of what is in a passing state: under an old snapshot everything that was in it since then stays in them."""

FILL = """
insert into lane (name, region) select 'lane' || n, 'us-east-1' from generate_series(1, 3) n;
insert into channel (lane_id, topic_arn, role_arn) select id, 'topic', 'role' from lane;
insert into backfill (name, min_confidence, edition, aggregate_by, price_usd_per_minute, expected_minutes_per_gb,
                      budget_rule, max_generations)
select 'backfill' || n, 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2 from generate_series(1, 4) n;

-- Of each backfill, in the order of claiming: nine tenths are settled, 500 are worked on, the rest is pending.
create temporary table plan as
select g as id, 1 + g % 3 as lane_id, 1 + (g - 1) / 25000 as backfill_id,
       case when p < 22500 and g % 100 < 95 then 'done' when p < 22500 and g % 100 < 98 then 'failed'
            when p < 22500 and g % 100 < 99 then 'skipped' when p < 22500 then 'expired'
            when p < 22880 then 'running' when p < 22980 then 'ready' when p < 22990 then 'intent'
            when p < 23000 then 'claimed' else 'pending' end as state,
       now() - make_interval(secs => 100000 - g) as at
  from (select g, (g - 1) % 25000 as p from generate_series(1, 100000) g) numbered;

insert into video (id, job_id, claim_order, size_bytes, registered_at, claimed_at, settled_at, backfill_id, lane_id,
                   state, bucket, key, version_id, reason)
overriding system value
select id, case when state not in ('pending', 'claimed', 'skipped') then id end, id, 1000000000, now(), at,
       case when state in ('done', 'failed', 'skipped', 'expired') then at end, backfill_id, lane_id,
       case when state in ('running', 'ready', 'intent', 'claimed') then 'active' else state end,
       'archive', 'videos/' || id || '.mp4', 'v' || id,
       case when state in ('failed', 'skipped', 'expired') then 'reason ' || id % 5 end
  from plan;
select setval('video_id_seq', 100000), setval('video_claim_order', 100000);

insert into job (id, size_bytes, intent_at, started_at, due_at, ready_at, settled_at, detections, duration_ms, video_id,
                 backfill_id, lane_id, channel_id, generation, state, aggregate_by, min_confidence, cost_usd, identity,
                 tag, token, bucket, key, version_id, aws_job_id, is_noticed, reason)
overriding system value
select id, 1000000000, at, case when state <> 'intent' then at end, case when state <> 'intent' then at end,
       case when state in ('ready', 'done') then at end,
       case when state in ('done', 'failed', 'expired') then at end, case when state = 'done' then 3 else 0 end, 60000,
       id, backfill_id, lane_id, lane_id, 1, state, 'TIMESTAMPS', 50, case when state = 'done' then 0.1 else 0 end,
       sha256(id::text::bytea), 'tag' || id, 'token' || id, 'archive', 'videos/' || id || '.mp4', 'v' || id,
       case when state <> 'intent' then 'aws' || id end, true,
       case when state in ('failed', 'expired') then 'reason ' || id % 5 end
  from plan where state not in ('pending', 'claimed', 'skipped');
select setval('job_id_seq', 100000);

insert into label (name, parent_name, taxonomy_level) select 'label ' || n, '', 1 from generate_series(1, 40) n;
insert into detection (job_id, confidence, timestamp_ms, label_id)
select id, 50 + (id + n) % 50, n * 1000, 1 + (id + n) % 40 from job, generate_series(1, 3) n where state = 'done';
insert into job_label (job_id, label_id, detections, highest_confidence, first_ms, last_ms)
select job_id, label_id, count(*), max(confidence), min(timestamp_ms), max(timestamp_ms) from detection group by 1, 2;
insert into tally (backfill_id, lane_id, pending, active, done)
select backfill_id, lane_id, count(*) filter (where state = 'pending'), 500, 22000 from video group by 1, 2;
"""

# Of lane 1 and backfill 2: the ids of a few videos in each stage.
CLAIMED = [47991, 47994]
PENDING = [48003, 48006, 48009]
INTENTS = [47982]
RUNNING = [47502, 47505, 47508]
READY = [47883, 47886, 47889]
FAILED = [30096, 30195, 30297]

LANE, BACKFILL, HOLDER = 1, 2, uuid.UUID(int=1)
USD = Decimal("0.10")

INDEXED: dict[str, tuple[list[Any], set[str]]] = {
    # backfills.sql
    "register_staged": ([BACKFILL], {"video_bucket_key_version_id_backfill_id_key"}),
    # claims.sql
    "pick_pending": ([LANE, BACKFILL, 47000, 20], {"video_pending"}),
    "move_pending": ([BACKFILL, LANE + 1, LANE, 20], {"video_pending", "video_pkey"}),
    "take_picked": ([PENDING, [USD] * 3, BACKFILL, LANE], {"video_pkey"}),
    "return_claimed_if_jobless": ([LANE, None, [5], 0, HOLDER, 1], {"video_claimed", "video_pkey"}),
    "settle_claimed_if_jobless": ([CLAIMED, ["skipped"] * 2, ["gone"] * 2], {"video_pkey"}),
    "lock_claimed": ([CLAIMED], {"video_pkey"}),
    "lock_jobs_of_identities": ([[bytes(32)]], {"job_identity_generation_key"}),
    "add_intents_if_new": (
        [
            *(CLAIMED, [bytes(32), bytes([1]) * 32], [1, 1], *[["text"] * 2] * 6, [1000] * 2, [USD] * 2),
            *(LANE, 1, BACKFILL, 50.0, "TIMESTAMPS"),
        ],
        {"job_identity_generation_key"},
    ),
    "attach_videos": ([CLAIMED, [bytes(32), bytes([1]) * 32]], {"video_pkey", "job_identity_generation_key"}),
    "intents_of_videos": ([INTENTS], {"video_pkey", "job_pkey"}),
    # jobs.sql
    "intents_of_lane": ([LANE], {"job_intents"}),
    "move_intent_to_channel": ([INTENTS[0], 1], {"job_pkey"}),
    "confirm_starts": ([INTENTS, ["tag"], ["aws"], [60.0]], {"job_pkey"}),
    "running_jobs_of_lane": ([LANE], {"job_due"}),
    "mark_finished": ([LANE, [f"aws{n}" for n in RUNNING]], {"job_by_aws_job_id", "job_pkey"}),
    "mark_overdue": ([LANE, 500, 10.0], {"job_due", "job_pkey"}),
    "wait_longer_if_unread": ([READY[0], 60.0], {"job_pkey"}),
    "ready_jobs": ([LANE, READY[:2], 32], {"job_ready"}),
    "ready_jobs_of": ([LANE, READY], {"job_pkey"}),
    "usual_times": ([LANE], {"job_settled"}),
    "unread_results": ([LANE], {"job_due", "job_ready"}),
    # pages.sql
    "lock_jobs": ([READY], {"job_pkey"}),
    "accept_pages": (
        [
            *(READY, [1] * 3, [1] * 3, ["token"] * 3, [b"digest"] * 3, [5] * 3, ["7.0"] * 3, [60_000] * 3, ["{}"] * 3),
            [b"digest"] * 3,
        ],
        {"job_pkey"},
    ),
    "settle_done": ([READY], {"job_pkey", "video_of_job", "detection_by_job"}),
    "settle_without_labels": (
        [RUNNING[0], "failed", "why", "failed", True, True],
        {"job_pkey", "video_of_job"},
    ),
    "keep_page_aside": ([READY[0], 1, "why", 3, b"{}}"], {"job_pkey"}),
    "drop_pages": ([READY[0]], {"job_pkey", "detection_by_job"}),
    # guards.sql
    "oldest_result": ([LANE], {"job_ready"}),
    # retries.sql
    "stopped_videos": (
        [BACKFILL, 30_000, 1000, None],
        {"video_stopped_in_order", "job_pkey", "job_identity_generation_key"},
    ),
    "lock_tallies_of_retry": ([BACKFILL, FAILED], {"video_of_job", "job_pkey"}),
    "retry_stopped": ([FAILED, [2] * 3], {"video_pkey"}),
    "read_again_if_failed": ([FAILED, BACKFILL], {"job_pkey", "video_of_job", "detection_by_job"}),
    # purge.sql
    "jobs_of_videos_to_purge": ([BACKFILL, 30_000, 30_999], {"video_pkey"}),
    "jobs_to_purge": ([BACKFILL, 30_000, 30_999], {"job_pkey"}),
    "purge_videos": ([BACKFILL, 30_000, 30_999], {"video_pkey", "job_pkey"}),
    "purge_jobs": ([BACKFILL, FAILED], {"job_pkey", "video_of_job", "detection_by_job", "job_label_pkey"}),
    # archive.sql
    "videos_stopped_for_reason": (["backfill2", "reason 1", 30_000, 50], {"video_stopped_by_reason", "job_pkey"}),
    "video_by_id": ([30_000], {"video_pkey", "job_pkey"}),
    "videos_of_object": (["archive", "videos/30000.mp4", 50], {"video_bucket_key_version_id_backfill_id_key"}),
    "timeline_of_job": ([30_000, 250_000], {"detection_by_job"}),
    "content_types_of_job": ([30_000, 250_000], {"detection_by_job"}),
    "jobs_that_show_label": (
        [[7], 80.0, 100.0, 2**63 - 1, 0, 50, "backfill2", None, None],
        {"job_label_by_confidence", "video_of_job"},
    ),
    "videos_done": (["backfill2", None, None, 20_001], {"video_done"}),
    "few_that_show_label": (
        [[7], 80.0, 100.0, 2**63 - 1, 0, 51, "backfill2", None, None],
        {"video_done", "job_label_pkey", "video_of_job"},
    ),
    # exports.sql
    "labels_of_jobs": ([BACKFILL, 30_000, 30_999, None], {"video_of_job", "job_pkey", "detection_by_job"}),
    # history.sql
    "started_jobs": ([["lane1", "lane2"], BACKFILL], {"job_due", "job_ready", "video_pkey"}),
    # reports.sql
    "running_jobs": ([], {"job_due"}),
    "labels_of_object": (
        ["archive", "videos/30000.mp4"],
        {"video_bucket_key_version_id_backfill_id_key", "detection_by_job", "job_pkey"},
    ),
    "states_of_object": (["archive", "videos/30000.mp4"], {"video_bucket_key_version_id_backfill_id_key", "job_pkey"}),
    # health.sql
    "objects_of_buckets": ([20, 3], {"video_bucket_key_version_id_backfill_id_key"}),
    "known_aws_job_ids": (["lane1", ["aws1", "aws2"]], {"job_by_aws_job_id"}),
}
"""Statement -> its arguments, and the indexes that are meant for it."""

SMALL_TABLES = {
    *("find_backfill", "add_backfill_if_new", "set_priority", "reset_allowances", "set_budget", "pause_backfill"),
    *("resume_backfill", "cancel_backfill", "share_backfill_if_kept", "write_audit", "audit_entries"),
    *("make_staging", "wait_for_turn_to_register", "progress_of_backfill", "work_left", "is_being_purged"),
    *(
        "take_as_long_as_it_takes",
        "lock_tallies_of_backfill",
        "lock_backfill",
        "mark_purging",
        "books_of_backfill",
        "forget_tallies",
    ),
    "forget_backfill",
    *("claimable_backfills", "lock_tally_if_owner", "lock_budget", "held_by_other_lanes", "reclaim_allowances"),
    *(
        "is_another_lane_overrun",
        "set_allowance",
        "quarantine_notice",
        "longest_queue",
        "add_tally",
        "lock_tallies_if_owner",
    ),
    *("register_lane", "register_channel", "channels_of_lane", "acquire_lane_if_free", "renew_lane_if_held"),
    *("release_lane_if_held", "lane_owner"),
    *("find_labels", "add_labels_if_new"),
    *("pause_failing_backfills", "incarnation", "traces_of_work", "set_incarnation", "forget_traces"),
    *("backfill_reports", "lane_reports"),
    *("labels_by_name", "dictionary"),
    *("state_of_schema", "missing_rights"),
    *("past_of_backfill", "queues_beside"),
}
"""Statements that touch only tables with a row a backfill, lane, label or decision."""

RESTORED = {"unsettled_since", "pause_suspected", "mark_uncertain"}
"""Statements that are asked for only where a database seems to be restored: at its start, and then once a minute."""

OPERATORS = {
    *("failures_by_reason", "settled_lately", "count_videos", "range_of_videos", "range_of_jobs", "extent_of_labels"),
    *("latest_done", "census_of_backfill"),
    *(name for name in SQL if name.startswith("verify_")),
}
"""Statements that an operator asks for, and that may read whole tables."""

VIEWS: dict[str, tuple[str, list[Any], set[str]]] = {
    "labels of an object": (
        "select * from moderation_labels where bucket = $1 and key = $2",
        ["archive", "videos/30000.mp4"],
        {"video_bucket_key_version_id_backfill_id_key", "job_pkey", "detection_by_job"},
    ),
    "labels of an object in a backfill": (
        "select * from moderation_labels where backfill = $1 and bucket = $2 and key = $3",
        ["backfill2", "archive", "videos/30000.mp4"],
        {"video_bucket_key_version_id_backfill_id_key", "job_pkey", "detection_by_job"},
    ),
    "status of an object": (
        "select * from video_status where bucket = $1 and key = $2",
        ["archive", "videos/30000.mp4"],
        {"video_bucket_key_version_id_backfill_id_key", "job_pkey"},
    ),
    "summary of an object": (
        "select * from video_labels where bucket = $1 and key = $2",
        ["archive", "videos/30000.mp4"],
        {"video_bucket_key_version_id_backfill_id_key", "job_pkey", "job_label_pkey"},
    ),
    "videos that show a label over a confidence": (
        "select * from video_labels where name = $1 and highest_confidence > $2",
        ["label 7", 98.5],
        {"job_label_by_confidence", "video_of_job"},
    ),
    "videos that show a label most clearly": (
        (
            "select * from video_labels where name = $1 and highest_confidence > $2"
            " order by highest_confidence desc limit 20"
        ),
        ["label 7", 80.0],
        {"job_label_by_confidence", "video_of_job"},
    ),
}
"""What readers ask the public views, and the indexes that are meant for it."""


@pytest.fixture(scope="module")
def full_database_url(module_database_url: str, portal: BlockingPortal) -> Iterator[str]:
    """A database with a hundred thousand videos, most of them settled."""

    async def fill() -> None:
        connection = await asyncpg.connect(module_database_url)
        await connection.execute(FILL)
        await connection.execute("vacuum analyze")
        await connection.close()

    portal.call(fill)
    return module_database_url


@pytest.fixture
async def database(full_database_url: str) -> AsyncIterator[Database]:
    """The pool with the settings under which the program's statements are planned."""
    async with open_database(full_database_url, deployment="default", may_migrate=False, pool_size=1) as database:
        yield database


@pytest.fixture(scope="module")
def quiet_database_url(full_database_url: str, portal: BlockingPortal) -> Iterator[str]:
    """The same database while nobody works and nothing is pending, as the statistics of a fresh one may have it."""

    async def empty() -> str:
        url = await fresh_database(full_database_url, urlsplit(full_database_url).path.removeprefix("/"))
        async with connected(url) as connection:
            await connection.execute("delete from video where state in ('pending', 'active')")
            await connection.execute("delete from job where state in ('intent', 'running', 'ready')")
            await connection.execute("vacuum analyze")
        return url

    url = portal.call(empty)
    yield url
    portal.call(drop_database, url)


@pytest.fixture
async def quiet_database(quiet_database_url: str) -> AsyncIterator[Database]:
    """Its pool."""
    async with open_database(quiet_database_url, deployment="default", may_migrate=False, pool_size=1) as database:
        yield database


async def plan_of(database: Database, sql: str, arguments: list[Any]) -> dict[str, Any]:
    """The plan of a statement with these arguments."""
    async with database.transaction("another") as connection:
        await connection.execute(SQL["make_staging"])
        document = json.loads(await connection.fetchval(f"explain (format json) {sql}", *arguments))
    plan: dict[str, Any] = document[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def indexes_of(plan: dict[str, Any]) -> set[str]:
    """The indexes that a plan reads, or lets decide on conflicts."""
    read = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    return read.union(*(node.get("Conflict Arbiter Indexes", []) for node in nodes(plan)))


def full_scans_of(plan: dict[str, Any]) -> set[str]:
    """The big tables that a plan reads from end to end, by themselves or through an index without a condition."""
    return {
        node["Relation Name"]
        for node in nodes(plan)
        if node.get("Relation Name") in BIG
        and (node["Node Type"] == "Seq Scan" or (node["Node Type"].startswith("Index") and not _is_narrow(node)))
    }


def _is_narrow(node: dict[str, Any]) -> bool:
    """True for an index scan with a condition, or over an index that has only the rows of an unsettled state."""
    return "Index Cond" in node or node["Index Name"] == "video_claimed"


async def test_archive_is_mostly_settled(database: Database):
    """The rows are as many, and in such states, as the plans are to be judged by."""
    rows = await database.pool.fetch("select state, count(*) from video group by 1")
    states = {row["state"]: row["count"] for row in rows}
    assert sum(states.values()) == VIDEOS
    assert states["pending"] + states["active"] == VIDEOS // 10
    samples = {"pending": PENDING, "claimed": CLAIMED, "intent": INTENTS, "running": RUNNING, "ready": READY}
    for state, ids in samples.items():
        found = await database.pool.fetch(
            "select coalesce(j.state, case v.state when 'active' then 'claimed' else v.state end) as state, v.lane_id,"
            " v.backfill_id from video v left join job j on j.id = v.job_id where v.id = any($1)",
            ids,
        )
        assert {tuple(row) for row in found} == {(state, LANE, BACKFILL)}


def test_every_statement_says_where_it_belongs():
    """A new statement must be proved to use an index, or be named among those that need none."""
    assert set(SQL) == INDEXED.keys() | SMALL_TABLES | RESTORED | OPERATORS
    assert not INDEXED.keys() & (SMALL_TABLES | RESTORED | OPERATORS)


@pytest.mark.parametrize("name", INDEXED)
async def test_statement_uses_the_index_that_is_meant_for_it(database: Database, name: str):
    """The plan reads the expected indexes, and no big table from end to end."""
    arguments, expected = INDEXED[name]
    plan = await plan_of(database, SQL[name], arguments)
    assert full_scans_of(plan) == set(), json.dumps(plan, indent=1)
    assert expected <= indexes_of(plan), json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", INDEXED)
async def test_rows_with_a_name_are_not_looked_for_by_their_state(quiet_database: Database, name: str):
    """An index of a state looks free where nothing is in it, and is still read by those alone that are meant to."""
    arguments, expected = INDEXED[name]
    plan = await plan_of(quiet_database, SQL[name], arguments)
    assert indexes_of(plan) & OF_A_STATE <= expected, json.dumps(plan, indent=1)


@pytest.mark.parametrize(
    ("name", "arguments", "index", "bound"),
    [
        ("mark_overdue", [LANE, 500, 10.0], "job_due", "due_at"),
        ("mark_overdue", [LANE, 500, None], "job_due", "due_at"),
        ("settled_lately", [], "job_settled", "settled_at"),
    ],
)
async def test_time_is_a_bound_of_the_index(
    database: Database, name: str, arguments: list[Any], index: str, bound: str
):
    """What is before or after a time is not read to be thrown away, which a volatile function would mean."""
    plan = await plan_of(database, SQL[name], arguments)
    conditions = [node["Index Cond"] for node in nodes(plan) if node.get("Index Name") == index]
    assert any(bound in condition for condition in conditions), json.dumps(plan, indent=1)
    assert full_scans_of(plan) == set(), json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", ["return_claimed_if_jobless"])
async def test_named_claims_are_found_by_their_ids(database: Database, name: str):
    """Giving back a few videos looks for these, whether many are claimed or few."""
    plan = await plan_of(database, SQL[name], [LANE, CLAIMED, [], 1, HOLDER, 1])
    assert full_scans_of(plan) == set(), json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", sorted(SMALL_TABLES - {"make_staging"}))
async def test_statement_of_small_tables_touches_no_big_one(database: Database, name: str):
    """What is said to touch only small tables does so."""
    assert not any(f" {table} " in f" {' '.join(SQL[name].split())} " for table in BIG)


@pytest.mark.parametrize("name", VIEWS)
async def test_readers_of_the_views_use_indexes(database: Database, name: str):
    """What the contract calls fast is found by indexes alone."""
    sql, arguments, expected = VIEWS[name]
    plan = await plan_of(database, sql, arguments)
    assert full_scans_of(plan) == set(), json.dumps(plan, indent=1)
    assert expected <= indexes_of(plan), json.dumps(plan, indent=1)

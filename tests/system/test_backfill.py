"""Whole backfills over the local service, compared with what it tells a plain client, and with its ledger."""

from __future__ import annotations

import random
import time

import asyncpg

from tests.system.checker import findings
from tests.system.site import Site, jobs_faster, kill
from tests.system.truth import labels_at_service, labels_in, starts_by_object, states_in


async def test_thousand_videos_over_two_lanes_equal_the_services_truth(site: Site):
    """Every label of 1,000 videos over two lanes is there once, each video is paid once, and the books are true."""
    site.configure(
        local={"videos": 1000},
        moderation={"min_confidence": 70.0},
        lanes__main=site.local_lane("us-east-1"),
        lanes__other=site.local_lane("us-east-1"),
    )
    site.service()
    done = site.run("backfill", "s3://synthetic-archive/")
    assert done.returncode == 1, done.stderr  # a few of the archive's videos end FAILED
    states = await states_in(site.database_url)
    assert sum(states.values()) == 1000
    assert set(states) == {"done", "failed"}
    paid = starts_by_object(site)
    assert len(paid) == 1000
    assert set(paid.values()) == {1}
    assert await labels_in(site.database_url) == labels_at_service(site)
    assert site.run("verify").returncode == 0


async def test_killed_at_random_moments_nothing_is_lost_doubled_or_paid_twice(site: Site):
    """A worker killed 10 times at random moments and started again ends with the same rows, each video paid once."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    site.configure(
        local={"videos": 400} | jobs_faster(120),
        worker={"lease_seconds": 1},
        moderation={"min_confidence": 80.0},
        lanes__main=site.local_lane("us-east-1"),
        lanes__other=site.local_lane("us-west-2"),
    )
    site.service()
    for _ in range(10):
        worker = site.start("backfill", "s3://synthetic-archive/")
        time.sleep(rng.uniform(0.8, 2.6))
        kill(worker)
    done = site.run("backfill", "s3://synthetic-archive/", seconds=200)
    assert done.returncode == 1, done.stderr
    assert await findings(site, registered=400) == []


async def test_second_run_pays_nothing_and_adds_no_row(site: Site):
    """The same backfill again starts no job, reads no page and adds no row."""
    site.service()
    first = site.run("backfill", "s3://synthetic-archive/")
    before, paid = await labels_in(site.database_url), site.ledger()["paid_jobs"]
    second = site.run("backfill", "s3://synthetic-archive/")
    assert (first.returncode, second.returncode) == (1, 1)
    assert await labels_in(site.database_url) == before
    assert site.ledger()["paid_jobs"] == paid == 100


async def test_another_backfill_of_the_same_objects_pays_nothing(site: Site):
    """A second backfill that names the same objects attaches to their jobs; another edition buys them again."""
    site.configure(local={"videos": 20})
    site.service()
    site.run("backfill", "s3://synthetic-archive/", "--name", "first")
    again = site.run("backfill", "s3://synthetic-archive/", "--name", "second")
    assert again.returncode in (0, 1), again.stderr
    assert site.ledger()["paid_jobs"] == 20
    site.configure(moderation={"edition": "2"})
    third = site.run("backfill", "s3://synthetic-archive/", "--name", "third")
    assert third.returncode in (0, 1), third.stderr
    assert site.ledger()["paid_jobs"] == 40
    assert (await states_in(site.database_url)).total() == 60


async def test_segments_are_read_as_segments(site: Site):
    """With aggregate_by SEGMENTS every label carries its start and end."""
    site.configure(local={"videos": 10}, moderation={"aggregate_by": "SEGMENTS"})
    site.service()
    site.run("backfill", "s3://synthetic-archive/")
    connection = await asyncpg.connect(site.database_url)
    rows = await connection.fetch("select start_ms, end_ms from moderation_labels")
    await connection.close()
    assert rows
    assert all(row["start_ms"] is not None and row["end_ms"] >= row["start_ms"] for row in rows)

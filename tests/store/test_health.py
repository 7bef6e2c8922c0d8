"""What the database tells of itself: its role's rights, the buckets of its videos, the jobs that it knows."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.postgres import DEPLOYMENT, connected
from tests.store.steps import BUCKET, Steps
from worker.errors import DatabaseError
from worker.model import Object
from worker.store.database import SQL, open_database
from worker.store.health import known_aws_job_ids, objects_of_buckets, schema
from worker.store.migrate import refuse_old_server

RELATIONS = """
select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')
"""


async def test_who_made_the_tables_lacks_no_right(steps: Steps):
    """A superuser may do everything; server and schema are told."""
    found = await schema(steps.database)
    assert found.missing_rights == []
    assert found.role == await steps.value("select current_user")
    assert found.migration == await steps.value("select max(version) from schema_migration")
    assert int(found.server.split(".")[0]) >= 15


async def test_rights_are_asked_for_on_every_table_and_view(steps: Steps, module_database_url: str):
    """A role that was given nothing lacks something on each of them: a new table must be named there."""
    stranger = f"stranger-{uuid.uuid4().hex[:12]}"
    async with connected(module_database_url) as connection:
        await connection.execute(f'begin; create role "{stranger}"; set local role "{stranger}"')
        missing = [row["missing"] for row in await connection.fetch(SQL["missing_rights"])]
    relations = {row["relname"] for row in await steps.database.pool.fetch(RELATIONS)}
    assert {right.rpartition(" ")[2] for right in missing} - {"database", "video_claim_order"} == relations


async def test_a_few_objects_of_each_bucket_are_told(steps: Steps):
    """However many videos a bucket has, and in however many backfills."""
    owner = await steps.own()
    for name in ("one", "two"):
        backfill = await steps.backfill(name)
        await steps.registry.add(backfill, [(Object("zoo", f"{n}.mp4"), owner.lane_id) for n in range(5)])
        await steps.register(backfill, owner, ["b.mp4", "a.mp4"])
    found = await objects_of_buckets(steps.database, 3)
    assert {bucket: len(objects) for bucket, objects in found.items()} == {BUCKET: 3, "zoo": 3}
    assert {named.bucket for named in found["zoo"]} == {"zoo"}


async def test_no_bucket_is_known_before_something_is_registered(steps: Steps):
    """An empty database has none."""
    assert await objects_of_buckets(steps.database, 3) == {}


async def test_jobs_are_known_to_their_own_lane(steps: Steps):
    """A JobId of another lane, or of nobody, is not known."""
    owner, backfill = await steps.own("main"), await steps.backfill()
    await steps.own("other")
    await steps.running(owner, backfill, ["a.mp4"])
    aws_job_id = await steps.value("select aws_job_id from job")
    assert await known_aws_job_ids(steps.database, "main", [aws_job_id, "unknown"]) == {aws_job_id}
    assert await known_aws_job_ids(steps.database, "other", [aws_job_id]) == set()


def test_server_that_is_too_old_is_refused():
    """The migrations need PostgreSQL 15, which is said before one of them fails."""
    refuse_old_server(asyncpg.types.ServerVersion(15, 0, 0, "final", 0))
    with pytest.raises(DatabaseError, match=r"is PostgreSQL 14\.9, this program needs 15 or newer; upgrade"):
        refuse_old_server(asyncpg.types.ServerVersion(14, 9, 0, "final", 0))


async def test_role_without_rights_is_told_where_they_are_described(module_database_url: str):
    """A role that may not even read which migrations there are is refused in one sentence."""
    stranger = f"stranger-{uuid.uuid4().hex[:12]}"
    parts = urlsplit(module_database_url)
    url = parts._replace(netloc=f"{stranger}@{parts.netloc.rpartition('@')[2]}").geturl()
    async with connected(module_database_url) as superuser:
        await superuser.execute(f'create role "{stranger}" login')
        with pytest.raises(DatabaseError) as refused:
            async with open_database(url, deployment=DEPLOYMENT, may_migrate=False, pool_size=2):
                pass
        await superuser.execute(f'drop role "{stranger}"')
    assert "the role of database.url may not do this (permission denied for " in str(refused.value)
    assert str(refused.value).endswith("; deploy/postgres/README.md tells which role does what")

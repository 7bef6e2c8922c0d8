"""What the database tells of itself and of the setup around it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from worker.model import Object
from worker.store.database import SQL, Database

MOST_BUCKETS = 20


class Schema(Struct, frozen=True):
    """The server's version, the role that we are, the newest migration, and what the role may not do."""

    server: str
    role: str
    migration: str
    missing_rights: list[str]


async def schema(database: Database) -> Schema:
    """Look at the server and the role's rights."""
    async with database.pool.acquire() as connection:
        version = connection.get_server_version()
        [row] = await connection.fetch(SQL["state_of_schema"])
        missing = [right for (right,) in await connection.fetch(SQL["missing_rights"])]
    return Schema(f"{version.major}.{version.minor}", row["role"], row["migration"], missing)


async def objects_of_buckets(database: Database, most: int) -> dict[str, list[Object]]:
    """Objects of each registered bucket, `most` of each."""
    found: dict[str, list[Object]] = {}
    for row in await database.pool.fetch(SQL["objects_of_buckets"], MOST_BUCKETS, most):
        found.setdefault(row["bucket"], []).append(Object(row["bucket"], row["key"]))
    return found


async def known_aws_job_ids(database: Database, lane: str, aws_job_ids: Sequence[str]) -> set[str]:
    """Those of the JobIds that are of the lane's jobs."""
    rows = await database.pool.fetch(SQL["known_aws_job_ids"], lane, list(aws_job_ids))
    return {row["aws_job_id"] for row in rows}

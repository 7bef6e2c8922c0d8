"""The database: reachable, of this program's schema and deployment, with the rights that a worker needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from worker.config import Settings
from worker.doctor.findings import Finding, fault, fine
from worker.model import Object
from worker.store.database import Database
from worker.store.health import Schema, objects_of_buckets, schema
from worker.store.reports import Reports
from worker.store.space import lack_of_space

ABOUT = "database"
MOST_OBJECTS = 3  # of each bucket


class DatabaseSeen(Struct, frozen=True):
    """What it tells: of itself, the lanes that it knows (as `status` shows them), and objects of each bucket."""

    schema: Schema
    lanes: list[dict[str, Any]]
    buckets: dict[str, list[Object]]


async def look(database: Database) -> DatabaseSeen:
    """Ask it."""
    found = await schema(database)
    if found.missing_rights:
        return DatabaseSeen(found, [], {})
    return DatabaseSeen(found, await Reports(database).lanes(), await objects_of_buckets(database, MOST_OBJECTS))


def judge(settings: Settings, seen: DatabaseSeen) -> Iterator[Finding]:
    """What would stop or hinder every lane."""
    state, space = seen.schema, lack_of_space(settings.database) if settings.database.is_embedded else None
    if state.missing_rights:
        first, *others = state.missing_rights
        more = f" and {len(others)} more" if others else ""
        said = f"role {state.role} lacks {first}{more}"
        yield fault(ABOUT, said, f'run deploy/postgres/roles.sql as its README says, with --set worker="{state.role}"')
    if space:
        yield fault(ABOUT, space, "make room on the disk of database.data_dir: nothing would be claimed")
    if not state.missing_rights and not space:
        known = f"PostgreSQL {state.server}, migration {state.migration}, deployment {settings.deployment}"
        yield fine(ABOUT, f"{known}, role {state.role}")

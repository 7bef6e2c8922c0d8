"""The decisions that move money or rows: who, when, what. An entry is written once and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, json

from worker.store.database import SQL, Connection, Database, storable

THE_WORKER = "modworker"  # who decides where no operator did


class Entry(Struct, frozen=True):
    """A decision; `detail` is what belongs to its action."""

    at: datetime
    who: str
    action: str
    backfill: str | None
    detail: dict[str, Any]


async def write(
    connection: Connection, who: str, action: str, backfill: str | None, detail: Mapping[str, Any] | None = None
) -> None:
    """Write a decision down, in the transaction that carries it out."""
    await connection.execute(SQL["write_audit"], storable(who), action, backfill, json.encode(detail or {}).decode())


async def entries(database: Database, backfill: str | None) -> list[Entry]:
    """The decisions in the order of time: all, or those about one backfill."""
    rows = await database.pool.fetch(SQL["audit_entries"], backfill)
    return [Entry(r["at"], r["who"], r["action"], r["backfill"], json.decode(r["detail"])) for r in rows]

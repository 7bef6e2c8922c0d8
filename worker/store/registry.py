"""Backfills and their videos as operators register, pause, cancel and resume them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from msgspec import Struct

from worker.config import Moderation
from worker.errors import UsageError
from worker.model import VIDEO_STATES, Backfill, Object
from worker.store import audit
from worker.store.audit import THE_WORKER
from worker.store.database import SQL, Connection, Database, patient

_STAGED = ("bucket", "key", "version_id", "etag", "size_bytes", "duration_ms", "lane_id")


class Progress(Struct, frozen=True):
    """One backfill's tallies, summed over its lanes."""

    pending: int
    active: int
    done: int
    failed: int
    skipped: int
    uncertain: int
    expired: int
    labels: int
    spent_usd: float
    reserved_usd: float
    budget_usd: float | None
    pause_reason: str | None
    is_cancelled: bool
    lanes_pending: list[str]
    lanes_active: list[str]

    @property
    def final(self) -> int:
        """Videos that have come to an end."""
        return self.done + self.failed + self.skipped + self.uncertain + self.expired

    @property
    def total(self) -> int:
        """Registered videos."""
        return self.pending + self.active + self.final

    @property
    def left(self) -> int:
        """Videos that can still come to an end; a cancelled backfill's pending ones never will."""
        return self.active + (0 if self.is_cancelled else self.pending)

    @property
    def videos(self) -> dict[str, int]:
        """Videos by state as readers see them: the pending ones of a cancelled backfill are skipped."""
        states: dict[str, int] = {state: getattr(self, state) for state in VIDEO_STATES}
        return states | {"pending": 0, "skipped": self.skipped + self.pending} if self.is_cancelled else states


class Lifted(Struct, frozen=True):
    """What held a backfill up until it was resumed."""

    pause_reason: str | None
    was_cancelled: bool


def as_backfill(row: asyncpg.Record) -> Backfill:
    """A row of `backfill` as the start stage needs it."""
    return Backfill(
        id=row["id"],
        name=row["name"],
        priority=row["priority"],
        min_confidence=row["min_confidence"],
        edition=row["edition"],
        aggregate_by=row["aggregate_by"],
        price_usd_per_minute=float(row["price_usd_per_minute"]),
        expected_minutes_per_gb=row["expected_minutes_per_gb"],
        budget_usd=None if row["budget_usd"] is None else float(row["budget_usd"]),
        is_strict=row["budget_rule"] == "strict",
        max_generations=row["max_generations"],
    )


class Registry:
    """What operators decide about backfills."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def open_backfill(
        self, name: str, moderation: Moderation, *, priority: int | None, budget_usd: float | None, who: str
    ) -> Backfill:
        """Find the backfill or register it; a priority or budget that is given is set.

        Raises:
            UsageError: if it was registered with settings that give other results.

        """
        async with self._database.transaction("open_backfill") as connection:
            is_new = await connection.fetchval(
                SQL["add_backfill_if_new"],
                name,
                priority or 0,
                moderation.min_confidence,
                moderation.edition,
                moderation.aggregate_by,
                moderation.price_usd_per_minute,
                moderation.expected_minutes_per_gb,
                budget_usd,
                moderation.budget,
                moderation.max_generations,
            )
            row = await _the(connection, "find_backfill", name)
            if is_new:
                await audit.write(connection, who, "register", name, _terms_of(row))
            _refuse_purged(row)
            _refuse_other_settings(row, moderation)
            if budget_usd is not None and budget_usd != as_backfill(row).budget_usd:
                detail = {"budget_usd": budget_usd, "before_usd": as_backfill(row).budget_usd}
                await connection.execute(SQL["reset_allowances"], name)
                await connection.execute(SQL["set_budget"], name, budget_usd)
                await audit.write(connection, who, "budget", name, detail)
            if priority is not None and priority != row["priority"]:
                await connection.execute(SQL["set_priority"], name, priority)
            return as_backfill(await _the(connection, "find_backfill", name))

    @patient
    async def find(self, name: str) -> Backfill | None:
        """A backfill by its name."""
        row = await self._database.pool.fetchrow(SQL["find_backfill"], name)
        return as_backfill(row) if row else None

    @patient
    async def add(self, backfill: Backfill, objects: Sequence[tuple[Object, int]]) -> int:
        """Add what is new of (object, lane id) pairs to a backfill; returns how many were.

        Raises:
            UsageError: if the backfill is being purged, or is gone.

        """
        records = [(o.bucket, o.key, o.version_id, o.etag, o.size_bytes, o.duration_ms, lane) for o, lane in objects]
        async with self._database.transaction("register") as connection:
            await connection.execute(SQL["make_staging"])
            await connection.copy_records_to_table("staged_video", records=records, columns=_STAGED)
            await connection.execute(SQL["wait_for_turn_to_register"], backfill.id)
            with suppress(asyncpg.ForeignKeyViolationError):  # it went while its tally was waited for
                added = int(await connection.fetchval(SQL["register_staged"], backfill.id))
                if await connection.fetchval(SQL["share_backfill_if_kept"], backfill.id):
                    return added
            raise UsageError(f"backfill {backfill.name} is being purged; nothing is registered into it")

    @patient
    async def progress(self, name: str) -> Progress:
        """How far a backfill is.

        Raises:
            UsageError: if there is none of that name (any more).

        """
        row = await self._database.pool.fetchrow(SQL["progress_of_backfill"], name)
        if row is None:
            raise UsageError(f"there is no backfill {name!r} any more: it was purged")
        values = dict(row)
        return Progress(**values | {key: values[key] or [] for key in ("lanes_pending", "lanes_active")})

    @patient
    async def work_left(self, lanes: Sequence[str]) -> int:
        """Videos that a worker on these lanes could still bring to an end."""
        return int(await self._database.pool.fetchval(SQL["work_left"], list(lanes)))

    @patient
    async def pause(self, name: str, reason: str, *, who: str = THE_WORKER) -> bool:
        """Stop the claiming of a backfill; False if there is none of that name. Twice is once."""
        async with self._database.transaction("pause_backfill") as connection:
            was_going = await connection.fetchval(SQL["pause_backfill"], name, reason)
            if was_going:
                await audit.write(connection, who, "pause", name, {"reason": reason})
        return was_going is not None

    @patient
    async def cancel(self, name: str, *, who: str = THE_WORKER) -> bool:
        """Skip what is pending; False if there is no backfill of that name. Twice is once."""
        async with self._database.transaction("cancel_backfill") as connection:
            was_going = await connection.fetchval(SQL["cancel_backfill"], name)
            if was_going:
                await audit.write(connection, who, "cancel", name)
        return was_going is not None

    @patient
    async def resume(self, name: str, *, who: str = THE_WORKER) -> Lifted | None:
        """Lift a pause and a cancel; None if there is no backfill of that name.

        Raises:
            UsageError: if the backfill is being purged.

        """
        async with self._database.transaction("resume_backfill") as connection:
            row = await connection.fetchrow(SQL["resume_backfill"], name)
            if row is None:
                return None
            if row["is_purging"]:
                raise UsageError(f"backfill {name} is being purged and cannot go on")
            lifted = Lifted(row["pause_reason"], row["was_cancelled"])
            if lifted != Lifted(None, was_cancelled=False):
                detail = {"paused": lifted.pause_reason, "cancelled": lifted.was_cancelled}
                await audit.write(connection, who, "resume", name, detail)
        return lifted

    @patient
    async def audit(
        self, who: str, action: str, backfill: str | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Write down a decision that no other method here carries out; a lost answer may write it twice."""
        async with self._database.transaction("write_audit") as connection:
            await audit.write(connection, who, action, backfill, detail)


async def _the(connection: Connection, statement: str, *arguments: object) -> asyncpg.Record:
    """The one row that the statement always finds."""
    row = await connection.fetchrow(SQL[statement], *arguments)
    if row is None:
        raise LookupError(f"{statement} found nothing for {arguments}")
    return row


def _terms_of(row: asyncpg.Record) -> dict[str, Any]:
    """What was agreed on with a new backfill, as far as it concerns money."""
    backfill = as_backfill(row)
    return {
        "price_usd_per_minute": backfill.price_usd_per_minute,
        "budget_usd": backfill.budget_usd,
        "budget_rule": row["budget_rule"],
        "max_generations": backfill.max_generations,
        "edition": backfill.edition,
    }


def _refuse_purged(row: asyncpg.Record) -> None:
    name = row["name"]
    if row["purging_at"] is not None:
        raise UsageError(f"backfill {name} is being purged; let `modworker purge` finish it, or choose another --name")


def _refuse_other_settings(row: asyncpg.Record, moderation: Moderation) -> None:
    for key in ("min_confidence", "edition", "aggregate_by"):
        if row[key] != getattr(moderation, key):
            raise UsageError(
                f"backfill {row['name']} was registered with {key} = {row[key]!r}, the config file says "
                f"{getattr(moderation, key)!r}; change it back, or choose another --name"
            )

"""What the database tells of jobs so far, and of what is still to be done: all that a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from worker.model import Backfill
from worker.planning.census import Census
from worker.planning.experience import ENOUGH_JOBS, Experience, InFlight, Settled, learned
from worker.planning.prediction import Queue, Shares
from worker.store.database import SQL, Connection, Database, patient

LATEST_JOBS = 5_000
JOBS_A_RUNNING_ONE = 2  # at least as many settled jobs are looked at: those that run are judged by them
READ_SECONDS = 3600  # a census may read a whole table


class Waiting(Struct, frozen=True):
    """A backfill's videos that are still to be started: by lane, with the region of each."""

    censuses: dict[str, Census]
    regions: dict[str, str]


class Past(Struct, frozen=True):
    """What was seen at one moment.

    `experience` is None where too little is settled; `is_own` if it is that of the backfill's own jobs. `waiting` and
    `shares` are the backfill's; without one nothing waits, and nothing is known of refusals.
    """

    at: datetime
    experience: Experience | None
    is_own: bool
    shares: Shares
    waiting: Waiting
    in_flight: dict[str, list[InFlight]]
    beside: dict[str, Queue]


class History:
    """Reads only, each time in one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def past(self, backfill: Backfill | None, lanes: Sequence[str], *, priority: int) -> Past:
        """What these lanes have done, and what they have before them beside a backfill of that priority."""
        backfill_id = backfill.id if backfill else None
        async with self._database.unlimited() as connection:
            outcomes = await _row(connection, "past_of_backfill", backfill_id)
            in_flight = await _in_flight(connection, lanes, backfill_id)
            experience, is_own = await _experience(connection, backfill_id, in_flight)
            return Past(
                at=outcomes["at"],
                experience=experience,
                is_own=is_own,
                shares=_shares(outcomes) if backfill else Shares(),
                waiting=await _waiting(connection, backfill_id),
                in_flight=in_flight,
                beside=await _beside(connection, backfill_id, priority),
            )


async def _row(connection: Connection, statement: str, *arguments: object) -> asyncpg.Record:
    [row] = await connection.fetch(SQL[statement], *arguments, timeout=READ_SECONDS)
    return row


def _shares(outcomes: asyncpg.Record) -> Shares:
    """Skipped videos end as soon as they are taken up, failed ones as late as those that are done."""
    return Shares(
        skipped=outcomes["skipped"] / max(1, outcomes["taken_up"]),
        failed=outcomes["failed"] / max(1, outcomes["failed"] + outcomes["done"]),
    )


async def _in_flight(
    connection: Connection, lanes: Sequence[str], backfill_id: int | None
) -> dict[str, list[InFlight]]:
    found: dict[str, list[InFlight]] = {}
    for row in await connection.fetch(SQL["started_jobs"], list(lanes), backfill_id, timeout=READ_SECONDS):
        job = InFlight(
            size_bytes=row["size_bytes"],
            duration_ms=row["duration_ms"],
            age_seconds=row["age_seconds"],
            seen_seconds=max(0.0, min(row["age_seconds"], row["seen_seconds"])),
            labels_read=row["labels"],
            pages_read=row["pages"],
            is_ready=row["state"] == "ready",
            is_own=row["is_own"],
        )
        found.setdefault(row["lane"], []).append(job)
    return found


async def _experience(
    connection: Connection, backfill_id: int | None, in_flight: Mapping[str, Sequence[InFlight]]
) -> tuple[Experience | None, bool]:
    """That of the backfill's own jobs if there are enough of them, else that of all."""
    jobs = [job for of_lane in in_flight.values() for job in of_lane]
    limit = max(LATEST_JOBS, JOBS_A_RUNNING_ONE * len(jobs))
    if backfill_id is not None:
        own = await connection.fetch(SQL["latest_done"], backfill_id, limit, timeout=READ_SECONDS)
        if len(own) >= ENOUGH_JOBS and (experience := learned(_settled(own), [job for job in jobs if job.is_own])):
            return experience, True
    return learned(_settled(await connection.fetch(SQL["latest_done"], None, limit, timeout=READ_SECONDS)), jobs), False


def _settled(rows: Sequence[asyncpg.Record]) -> list[Settled]:
    return [
        Settled(row["size_bytes"], row["duration_ms"] / 60_000, row["labels"], row["pages"], row["seconds"])
        for row in rows
    ]


async def _waiting(connection: Connection, backfill_id: int | None) -> Waiting:
    waiting = Waiting({}, {})
    for row in await connection.fetch(SQL["census_of_backfill"], backfill_id, timeout=READ_SECONDS):
        waiting.censuses.setdefault(row["lane"], Census()).add(row["known"], row["total"], row["videos"])
        waiting.regions[row["lane"]] = row["region"]
    return waiting


async def _beside(connection: Connection, backfill_id: int | None, priority: int) -> dict[str, Queue]:
    rows = await connection.fetch(SQL["queues_beside"], backfill_id, priority, timeout=READ_SECONDS)
    return {row["lane"]: Queue(row["urgent"], row["equal"]) for row in rows}

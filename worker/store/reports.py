"""What operators look at: backfills, lanes, one video's labels, and whether the books are true."""

from __future__ import annotations

from typing import Any

import asyncpg
from msgspec import json

from worker.model import VIDEO_STATES
from worker.store.database import SQL, Database, patient

_CHECKS = {
    "verify_tallies": "the tally of backfill {backfill} on lane {lane} differs from its videos",
    "verify_money": "the sums of backfill {backfill} on lane {lane} differ from its jobs",
    "verify_labels": "the labels counted for backfill {backfill} on lane {lane} differ from those of its videos",
    "verify_detections": "job {id} ({bucket}/{key}) has {rows} detections, its pages counted {counted}",
    "verify_summaries": "job {id} ({bucket}/{key}) has {rows} detections in its summary, its pages counted {counted}",
    "verify_orphans": "{finding}",
    "verify_videos": "video {bucket}/{key} of backfill {backfill} is {state}, its job {job_state}",
    "verify_identities": "identity {identity} was bought {jobs} times in generation {generation}",
}
VERIFY_SECONDS = 3600  # a check may read whole tables
_WITHOUT_BACKFILL = ("verify_orphans", "verify_identities")


class Reports:
    """Reads only; figures come from the tallies, so that none of them counts 10^7 rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = database.pool

    async def status(self) -> dict[str, Any]:
        """The document that `status --json` prints."""
        return {"backfills": await self.backfills(), "lanes": await self.lanes()}

    async def backfills(self) -> list[dict[str, Any]]:
        """Every backfill, the newest first: videos by state, labels, money, time left, failures by reason."""
        failures: dict[str, dict[str, int]] = {}
        for row in await self._pool.fetch(SQL["failures_by_reason"]):
            failures.setdefault(row["name"], {})[row["reason"]] = row["videos"]
        lately = await self._pool.fetch(SQL["settled_lately"])
        rates = {row["name"]: row["videos"] / max(row["seconds"], 1.0) for row in lately}
        rows = await self._pool.fetch(SQL["backfill_reports"])
        return [_backfill(row, failures.get(row["name"], {}), rates.get(row["name"])) for row in rows]

    @patient
    async def books(self) -> list[dict[str, Any]]:
        """Every backfill's videos by state and money alone: what may be asked for every few seconds."""
        return [_backfill(row, {}, None) for row in await self._pool.fetch(SQL["backfill_reports"])]

    async def lanes(self) -> list[dict[str, Any]]:
        """Every lane with its owner and what the owner last said of it."""
        return [await self._lane(row) for row in await self._pool.fetch(SQL["lane_reports"])]

    async def labels(self, bucket: str, key: str) -> list[dict[str, Any]]:
        """The settled labels of one video in the order of their appearance."""
        return [dict(row) for row in await self._pool.fetch(SQL["labels_of_object"], bucket, key)]

    async def states(self, bucket: str, key: str) -> list[dict[str, Any]]:
        """What became of an object in each backfill that names it."""
        return [dict(row) for row in await self._pool.fetch(SQL["states_of_object"], bucket, key)]

    async def verify(self, backfill_id: int | None) -> tuple[int, list[str]]:
        """(videos looked at, findings); no finding means that the books are true."""
        findings = []
        async with self._database.unlimited() as connection:
            for check, sentence in _CHECKS.items():
                arguments = [] if check in _WITHOUT_BACKFILL else [backfill_id]
                rows = await connection.fetch(SQL[check], *arguments, timeout=VERIFY_SECONDS)
                findings += [sentence.format(**dict(row)) for row in rows]
            videos = await connection.fetchval(SQL["count_videos"], backfill_id, timeout=VERIFY_SECONDS)
        return videos, findings

    async def _lane(self, row: asyncpg.Record) -> dict[str, Any]:
        report = json.decode(row["report"])
        running = await self._pool.fetchval(SQL["running_jobs"], row["id"])
        return {
            **report,
            "name": row["name"],
            "region": row["region"],
            "account_id": row["account_id"],
            "owner": row["owner"],
            "epoch": row["epoch"],
            "running": running,
        }


def _backfill(row: asyncpg.Record, failures: dict[str, int], videos_per_second: float | None) -> dict[str, Any]:
    left = row["active"] + (0 if row["is_cancelled"] else row["pending"])
    videos = {state: row[state] for state in VIDEO_STATES}
    if row["is_cancelled"]:
        videos |= {"skipped": row["skipped"] + row["pending"], "pending": 0}
    return {
        "name": row["name"],
        "priority": row["priority"],
        "paused": row["pause_reason"],
        "cancelled": row["is_cancelled"],
        "videos": videos,
        "labels": row["labels"],
        "spent_usd": row["spent_usd"],
        "reserved_usd": row["reserved_usd"],
        "budget_usd": row["budget_usd"],
        "eta_seconds": 0.0 if not left else left / videos_per_second if videos_per_second else None,
        "failures": failures,
    }

"""What operators look at: backfills, lanes, one video's labels, and whether the books are true."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import asyncpg
from msgspec import Struct, json

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
    "verify_jobs": "job {id} ({bucket}/{key}) is {state}, and no video is attached to it",
    "verify_allowances": "the lanes are allowed ${allowed_usd} of the budget of ${budget_usd} of backfill {backfill}",
    "verify_strict_budgets": "${held_usd} are spent or reserved of the strict ${budget_usd} of backfill {backfill}",
    "verify_identities": "identity {identity} was bought {jobs} times in generation {generation}",
}
_THOROUGH_CHECKS = {
    "verify_label_summaries": "the summary of label {label_id} of job {id} ({bucket}/{key}) is not that of its rows",
}
VERIFY_SECONDS = 3600  # a check may read whole tables
_WITHOUT_BACKFILL = ("verify_orphans", "verify_identities")


class Counts(Struct, frozen=True):
    """Figures that no tally has: backfill -> reason -> videos, backfill -> rate, lane -> running jobs."""

    failures: dict[str, dict[str, int]]
    videos_per_second: dict[str, float]
    running: dict[str, int]


class Reports:
    """Reads only; figures come from the tallies, so that none of them counts 10^7 rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = database.pool

    async def status(self) -> dict[str, Any]:
        """The document that `status --json` prints."""
        return as_status(await self.tallies(), await self.counts())

    async def tallies(self) -> dict[str, Any]:
        """`backfills` by their books and `lanes` as their owners told: a row or a few for each, however many videos."""
        backfills = [_backfill(row) for row in await self._pool.fetch(SQL["backfill_reports"])]
        return {"backfills": backfills, "lanes": await self.lanes()}

    async def counts(self) -> Counts:
        """What has to be counted in the indexes of videos and jobs."""
        failures: dict[str, dict[str, int]] = {}
        for row in await self._pool.fetch(SQL["failures_by_reason"]):
            failures.setdefault(row["name"], {})[row["reason"]] = row["videos"]
        lately = await self._pool.fetch(SQL["settled_lately"])
        rates = {row["name"]: row["videos"] / max(row["seconds"], 1.0) for row in lately}
        running = {row["name"]: row["jobs"] for row in await self._pool.fetch(SQL["running_jobs"])}
        return Counts(failures, rates, running)

    @patient
    async def books(self) -> dict[str, Any]:
        """The tallies as somebody needs them who looks every few seconds, for as long as the process lives."""
        return await self.tallies()

    async def lanes(self) -> list[dict[str, Any]]:
        """Every lane with its owner and what the owner last said of it."""
        return [_lane(row) for row in await self._pool.fetch(SQL["lane_reports"])]

    async def labels(self, bucket: str, key: str) -> list[dict[str, Any]]:
        """The settled labels of one video in the order of their appearance."""
        return [dict(row) for row in await self._pool.fetch(SQL["labels_of_object"], bucket, key)]

    async def states(self, bucket: str, key: str) -> list[dict[str, Any]]:
        """What became of an object in each backfill that names it."""
        return [dict(row) for row in await self._pool.fetch(SQL["states_of_object"], bucket, key)]

    async def verify(self, backfill_id: int | None, *, is_thorough: bool = False) -> tuple[int, list[str]]:
        """(videos looked at, findings); no finding means that the books are true.

        A thorough one groups all detections by job and label, which takes some times as long as all else together.
        """
        findings = []
        async with self._database.unlimited() as connection:
            for check, sentence in (_CHECKS | (_THOROUGH_CHECKS if is_thorough else {})).items():
                arguments = [] if check in _WITHOUT_BACKFILL else [backfill_id]
                rows = await connection.fetch(SQL[check], *arguments, timeout=VERIFY_SECONDS)
                findings += [sentence.format(**dict(row)) for row in rows]
            videos = await connection.fetchval(SQL["count_videos"], backfill_id, timeout=VERIFY_SECONDS)
        return videos, findings


def as_status(tallies: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """The document of `status --json`: what is always at hand, and what was counted, maybe some time before."""
    lanes = [lane | {"running": counts.running.get(lane["name"], 0)} for lane in tallies["lanes"]]
    out_of_money = {name for lane in lanes if lane["owner"] for name in lane.get("out_of_budget", ())}
    return {"backfills": [_with_counts(entry, counts, out_of_money) for entry in tallies["backfills"]], "lanes": lanes}


def _with_counts(backfill: Mapping[str, Any], counts: Counts, out_of_money: Collection[str]) -> dict[str, Any]:
    """`out_of_money` are those for which the owner of a lane found none at its latest claim."""
    name = backfill["name"]
    return {
        **backfill,
        "budget_reached": _is_at_its_budget(backfill, out_of_money),
        "eta_seconds": _seconds_left(backfill, counts.videos_per_second.get(name)),
        "failures": counts.failures.get(name, {}),
    }


def _lane(row: asyncpg.Record) -> dict[str, Any]:
    own = {key: row[key] for key in ("name", "region", "account_id", "owner", "epoch")}
    return {**json.decode(row["report"]), **own}


def _backfill(row: asyncpg.Record) -> dict[str, Any]:
    videos = {state: row[state] for state in VIDEO_STATES}
    if row["is_cancelled"]:
        videos |= {"skipped": row["skipped"] + row["pending"], "pending": 0}
    return {
        "name": row["name"],
        "priority": row["priority"],
        "paused": row["pause_reason"],
        "cancelled": row["is_cancelled"],
        "purging": row["is_purging"],
        "videos": videos,
        "labels": row["labels"],
        "spent_usd": row["spent_usd"],
        "reserved_usd": row["reserved_usd"],
        "budget_usd": row["budget_usd"],
    }


def _is_at_its_budget(document: Mapping[str, Any], out_of_money: Collection[str]) -> bool:
    """True where something waits for money that the budget does not have."""
    budget_usd: float | None = document["budget_usd"]
    if budget_usd is None or not document["videos"]["pending"]:
        return False
    return document["name"] in out_of_money or document["spent_usd"] + document["reserved_usd"] >= budget_usd


def _seconds_left(document: Mapping[str, Any], videos_per_second: float | None) -> float | None:
    left = document["videos"]["pending"] + document["videos"]["active"]
    return 0.0 if not left else left / videos_per_second if videos_per_second else None

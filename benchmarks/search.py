"""How long the search takes over all detections of an archive, and over a hundredth of them.

`python -m benchmarks.search [--quick]` prints one JSON object. Two databases hold settled jobs of a hundred detections
each, with twelve labels in every video: more than any archive has, so that each label is everywhere. One job settled a
second. Both have a backfill of a thousandth of the videos beside that of all, and a label in a hundred videos alone.
A worker of its own shows the pages of each; they are asked in turns, as a browser asks, with another label or another
time each. Milliseconds are from the question to the whole answer, on a connection that is open. What a browser goes on
asking until a page of fifty is full counts as one question.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
from msgspec import Struct, json

from benchmarks.rig import Rig, machine, median, open_rig
from benchmarks.stored import leave_room, store
from worker.local.analysts.taxonomy import TAXONOMY

LABELS_A_JOB = 100
EVERYWHERE = 12  # labels, the first of the dictionary
RARE = EVERYWHERE + 1
RARE_VIDEOS = 100
FULL_PAGE = 50
JOBS, JOBS_QUICK = (10_000, 1_000_000), (1_000, 10_000)
ROUNDS, ROUNDS_QUICK = 40, 3
SEED = 20261127
TARGET_MS = 100  # what feels instant

BESIDE = (
    """
    insert into backfill (name, min_confidence, edition, aggregate_by, price_usd_per_minute, expected_minutes_per_gb,
                          budget_rule, max_generations)
    values ('small', 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2)
    """,
    """
    insert into video (job_id, claimed_at, settled_at, backfill_id, lane_id, state, bucket, key, version_id)
    select v.job_id, v.claimed_at, v.settled_at, b.id, v.lane_id, v.state, v.bucket, v.key, v.version_id
      from video v, backfill b where b.name = 'small' and v.id % 1000 = 0
    """,
    """
    insert into job_label (job_id, label_id, detections, highest_confidence, first_ms, last_ms)
    select n * {jobs} / {videos}, {label}, 1, 60 + n % 40, 0, 0 from generate_series(1, {videos}) n
    """,
    "vacuum analyze",
)

Query = dict[str, str]


class Kind(Struct, frozen=True):
    """One kind of question, and how many pages are read on."""

    query: Callable[[random.Random, datetime, int], Query]
    pages: int = 1


def everywhere(rng: random.Random, confidence: float, **more: str) -> Query:
    """A label that every video shows."""
    return {"label": TAXONOMY[rng.randrange(EVERYWHERE)].name, "confidence": str(confidence), **more}


def within(rng: random.Random, first: datetime, jobs: int, hours: float) -> Query:
    """A time of so many hours, of those in which jobs settled."""
    start = first + timedelta(seconds=rng.uniform(0, max(0.0, jobs - hours * 3600)))
    return {"from": start.isoformat(), "before": (start + timedelta(hours=hours)).isoformat()}


KINDS: Mapping[str, Kind] = {
    "label": Kind(lambda rng, *_: everywhere(rng, 0)),
    "label, 80% or more": Kind(lambda rng, *_: everywhere(rng, 80)),
    "label, ten pages on": Kind(lambda rng, *_: everywhere(rng, 0), pages=10),
    "rare label": Kind(lambda *_: {"label": TAXONOMY[RARE - 1].name}),
    "label that nobody shows": Kind(lambda *_: {"label": "Unheard of"}),
    "label in a small backfill": Kind(lambda rng, *_: everywhere(rng, 80, backfill="small")),
    "label in an hour": Kind(lambda rng, first, jobs: everywhere(rng, 80, **within(rng, first, jobs, 1))),
    "label in five hours": Kind(lambda rng, first, jobs: everywhere(rng, 80, **within(rng, first, jobs, 5))),
    "label in a day": Kind(lambda rng, first, jobs: everywhere(rng, 80, **within(rng, first, jobs, 24))),
    "rare label in a day": Kind(
        lambda rng, first, jobs: {"label": TAXONOMY[RARE - 1].name, **within(rng, first, jobs, 24)}
    ),
}


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="How long the search takes, with few and with many detections.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the times mean nothing")
    quick = parser.parse_args().quick
    async with open_rig(lane={}, local={"videos": 1}) as rig:
        about = await machine(rig.server_url)
        result = await compared(rig, JOBS_QUICK if quick else JOBS, ROUNDS_QUICK if quick else ROUNDS)
    print(json.format(json.encode(about | result), indent=2).decode())


async def compared(rig: Rig, jobs: tuple[int, int], rounds: int) -> dict[str, Any]:
    """The times of each kind of question in both databases, which take turns."""
    service_url = rig.serve("-m", "worker", "serve", "--config")
    await rig.migrated((label.name, label.parent, label.level) for label in TAXONOMY)
    urls = {count: await pages_over(rig, service_url, count) for count in jobs}
    times: dict[int, dict[str, list[float]]] = {count: {name: [] for name in KINDS} for count in jobs}
    rng = random.Random(SEED)
    async with aiohttp.ClientSession() as session:
        for _ in range(rounds):
            for name, kind in KINDS.items():
                for count, (url, first) in urls.items():
                    times[count][name].append(await asked(session, url, kind, kind.query(rng, first, count)))
    few, many = jobs
    return {
        "benchmark": "search",
        "seed": SEED,
        "rounds": rounds,
        "detections": {"few": few * LABELS_A_JOB, "many": many * LABELS_A_JOB},
        "summaries": {"few": few * EVERYWHERE + RARE_VIDEOS, "many": many * EVERYWHERE + RARE_VIDEOS},
        "ms": {
            name: {"few": told(times[few][name]), "many": told(times[many][name])}
            | {"many/few": round(median(times[many][name]) / median(times[few][name]), 2)}
            for name in KINDS
        },
        "targets": {"worst": TARGET_MS},
    }


async def pages_over(rig: Rig, service_url: str, jobs: int) -> tuple[str, datetime]:
    """Fill a database with that many jobs; the address of a worker's pages over it, and when the first job settled."""
    database_url = await rig.database(f"jobs{jobs}")
    config = rig.config(database_url, service_url, worker={"http_listen": "127.0.0.1:0"})
    worker = rig.worker("run", config=config)
    connection = await asyncpg.connect(database_url, command_timeout=3600)
    await rig.until_true(worker, connection, "select count(*) > 0 from channel")
    await leave_room(connection)
    await store(connection, jobs=jobs, labels=LABELS_A_JOB)
    for statement in BESIDE:
        await connection.execute(statement.format(jobs=jobs, videos=RARE_VIDEOS, label=RARE))
    first = await connection.fetchval("select min(settled_at) from job")
    await connection.close()
    return rig.pages_url(worker), first.astimezone(UTC)


async def asked(session: aiohttp.ClientSession, url: str, kind: Kind, query: Query) -> float:
    """Milliseconds of the last of the pages that are read."""
    after: str | None = None
    for _ in range(kind.pages):
        begun_at, shown = time.perf_counter(), 0
        while True:
            told = await page(session, url, query | ({"after": after} if after else {}))
            shown, after = shown + len(told["videos"]), told["next"]
            if after is None or shown >= FULL_PAGE:
                break
        seconds = time.perf_counter() - begun_at
    return seconds * 1000


async def page(session: aiohttp.ClientSession, url: str, query: Query) -> dict[str, Any]:
    """One answer."""
    async with session.get(f"{url}/api/search", params=query) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


def told(milliseconds: list[float]) -> dict[str, float]:
    """The first, which finds nothing in memory; the one in the middle; and the longest."""
    times = {"first": milliseconds[0], "median": median(milliseconds), "worst": max(milliseconds)}
    return {name: round(value, 1) for name, value in times.items()}


if __name__ == "__main__":
    asyncio.run(main())

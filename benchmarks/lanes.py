"""How long the event loop of a process with many lanes stands still, when it starts and when it takes them over.

`python -m benchmarks.lanes [--quick]` prints one JSON object. Each lane is an account of its own at the local service,
and has videos to start; its jobs take hours. A process takes all lanes and fills their slots; a second one stands by,
and takes them over when the first is told to stop. Both are watched by `benchmarks/watched_run.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import asyncpg
from msgspec import json

from benchmarks.handovers import latest_handovers, record_handovers
from benchmarks.rig import Rig, machine, open_rig, stop
from benchmarks.takeover import STANDING_BY, TAKEN
from benchmarks.watched_run import Standstill

MANY, MANY_QUICK = 50, 3
SLOTS = 20  # of each lane
VIDEOS = 40  # for each lane, about: half of them wait
HOURS_SECONDS = 36_000.0
AFTERWARDS_SECONDS = 5.0  # that are looked at when all lanes are taken
ARCHIVE = "s3://synthetic-archive/"
FULL = "select count(*) >= $1 from job where state = 'running'"
TARGETS = {"longest_ms": 100.0}


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Standstills of the event loop of a process with many lanes.")
    parser.add_argument("--quick", action="store_true", help=f"{MANY_QUICK} lanes instead of {MANY}")
    lanes = MANY_QUICK if parser.parse_args().quick else MANY
    quotas = {"start_per_second": 5.0, "get_per_second": 20.0, "concurrent_jobs": SLOTS}
    async with open_rig(lane=quotas, local={"videos": lanes * VIDEOS, "job_seconds": HOURS_SECONDS}) as rig:
        about = await machine(rig.server_url)
        await rig.migrated()
        database_url = await rig.database("lanes")
        connection = await asyncpg.connect(database_url)
        config = rig.config(
            database_url,
            rig.serve("-m", "worker", "serve", "--config"),
            lanes=[f"lane-{number}" for number in range(lanes)],
            moderation={"first_due_seconds": HOURS_SECONDS},
        )
        rig.output(rig.worker("enqueue", ARCHIVE, config=config))
        phases = await measured(rig, connection, config, lanes)
        await connection.close()
    result = about | {"benchmark": "lanes", "lanes": lanes} | phases | {"targets": TARGETS}
    print(json.format(json.encode(result), indent=2).decode())


async def measured(rig: Rig, connection: asyncpg.Connection, config: Path, lanes: int) -> dict[str, Any]:
    """What two processes went through, the second of which has stood by for the lanes of the first."""
    await record_handovers(connection)
    begun_at = time.time()
    first = watched_run(rig, config)
    await rig.until_logged(first, TAKEN, times=lanes)
    taken_at = time.time()
    await rig.until_true(first, connection, FULL, lanes * SLOTS)
    filled_at = time.time()
    second = watched_run(rig, config)
    await rig.until_logged(second, STANDING_BY, times=lanes)
    standing_at = time.time()
    of_first = standstills(first)
    await rig.until_logged(second, TAKEN, times=lanes)
    await asyncio.sleep(AFTERWARDS_SECONDS)
    of_second = standstills(second)
    handovers = await latest_handovers(connection)
    return {
        "start": {"seconds": round(taken_at - begun_at, 2)} | summary(of_first, begun_at, filled_at),
        "stand_by": {"seconds": round(standing_at - filled_at, 2)} | summary(of_second, filled_at, standing_at),
        "takeover": {
            "seconds": round(max(one.taken_at - one.free_at for one in handovers), 2),
        }
        | summary(of_second, standing_at, max(one.taken_at for one in handovers) + AFTERWARDS_SECONDS),
    }


def watched_run(rig: Rig, config: Path) -> Popen[str]:
    """A worker whose event loop is watched."""
    return rig.start(["-m", "benchmarks.watched_run", str(config)])


def standstills(worker: Popen[str]) -> list[Standstill]:
    """What a worker tells at its end."""
    return json.decode(stop(worker), type=list[Standstill])


def summary(standstills: list[Standstill], since: float, until: float) -> dict[str, float]:
    """The longest of them within a time, as it was and without what it waited for a core."""
    within = [one for one in standstills if since <= one.ended_at <= until]
    return {
        "longest_ms": max((one.ms for one in within), default=0.0),
        "longest_own_ms": max((one.own_ms for one in within), default=0.0),
    }


if __name__ == "__main__":
    asyncio.run(main())

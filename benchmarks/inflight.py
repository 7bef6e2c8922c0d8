"""Memory of a worker process with many running jobs beside one with few.

`python -m benchmarks.inflight [--quick]` prints one JSON object. Both workers have the same archive, with more videos
than jobs may run, so that they differ in `concurrent_jobs` alone; the local service's jobs take hours. A worker is
measured once all its jobs run and its memory has settled down.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from subprocess import Popen
from typing import Any

import asyncpg
from msgspec import json

from benchmarks.rig import Rig, machine, memory_mb, open_rig, stop

FEW, MANY, MANY_QUICK = 10, 10_000, 200
WAITING_VIDEOS = 500  # that stay pending
TARGET_MB = 20.0
STARTS_PER_SECOND = 1000.0
HOUR_SECONDS = 3600.0  # that a job takes, and before it is asked for without a notice
STEADY_MB = 0.1  # what may change between two looks at memory that has settled down
LONGEST_SECONDS = 60.0


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Memory of a worker with many running jobs, beside one with few.")
    parser.add_argument("--quick", action="store_true", help=f"{MANY_QUICK} jobs instead of {MANY}")
    is_quick = parser.parse_args().quick
    many, steady_seconds = (MANY_QUICK, 1.0) if is_quick else (MANY, 5.0)
    lane = {"start_per_second": STARTS_PER_SECOND, "get_per_second": STARTS_PER_SECOND, "concurrent_jobs": FEW + many}
    local = {"videos": many + WAITING_VIDEOS, "job_seconds": HOUR_SECONDS, "quota_burst": 1000}
    async with open_rig(lane=lane, local=local) as rig:
        about = await machine(rig.server_url)
        service_url = rig.serve("-m", "worker", "serve", "--config")
        await rig.migrated()
        with_few = await settled_memory(rig, service_url, FEW, steady_seconds)
        with_many = await settled_memory(rig, service_url, many, steady_seconds)
    print(json.format(json.encode(about | report(many, with_few, with_many)), indent=2).decode())


def report(many: int, with_few: dict[str, float], with_many: dict[str, float]) -> dict[str, Any]:
    """What more jobs cost."""
    more = {kind: round(with_many[kind] - with_few[kind], 2) for kind in with_few}
    return {
        "benchmark": "inflight",
        "running_jobs": [FEW, many],
        "memory_mb": {str(FEW): with_few, str(many): with_many},
        "more_mb": more,
        "targets": {"more_mb": {"unique": TARGET_MB}},
    }


async def settled_memory(rig: Rig, service_url: str, jobs: int, steady_seconds: float) -> dict[str, float]:
    """The memory of a worker whose every slot runs a job, in MB, once it has stopped changing."""
    database_url = await rig.database(f"jobs_{jobs}")
    config = rig.config(
        database_url,
        service_url,
        lane={"concurrent_jobs": jobs},
        moderation={"first_due_seconds": HOUR_SECONDS, "edition": str(jobs)},
    )
    worker = rig.worker("backfill", "s3://synthetic-archive/", "--name", "archive", config=config)
    connection = await asyncpg.connect(database_url)
    await rig.until_true(worker, connection, "select count(*) = $1 from job where state = 'running'", jobs)
    await connection.close()
    settled = await until_settled(worker, steady_seconds)
    stop(worker)
    return settled


async def until_settled(worker: Popen[str], steady_seconds: float) -> dict[str, float]:
    """Look until the memory stays as it is for so long."""
    deadline = time.monotonic() + LONGEST_SECONDS
    seen = memory_mb(worker.pid)
    while time.monotonic() < deadline:
        await asyncio.sleep(steady_seconds)
        before, seen = seen, memory_mb(worker.pid)
        if abs(seen["unique"] - before["unique"]) <= STEADY_MB:
            break
    return seen


if __name__ == "__main__":
    asyncio.run(main())

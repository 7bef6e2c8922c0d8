"""Processor time of a worker that has nothing to do, and of PostgreSQL beside it.

`python -m benchmarks.idle [--quick]` prints one JSON object; its figures are shares of one core. An archive is
moderated to its end; then a worker that owns the lanes waits for more, as `modworker run` does by default.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from msgspec import json

from benchmarks.rig import Rig, cpu_seconds, machine, open_rig, stop
from benchmarks.takeover import TAKEN

LANES, LANES_QUICK = [1, 10], [1]
VIDEOS = 20  # for each lane, about
ARCHIVE = "s3://synthetic-archive/"
QUOTAS = {"start_per_second": 50.0, "get_per_second": 100.0, "concurrent_jobs": 100}
SECONDS, SECONDS_QUICK = 60.0, 1.0
SETTLING_SECONDS = 20.0  # after the last lane was taken
TARGETS = {"lanes": {"1": {"worker": 0.01}}}


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Processor time of a worker that has nothing to do.")
    parser.add_argument("--quick", action="store_true", help=f"one lane, for {SECONDS_QUICK:g} s")
    is_quick = parser.parse_args().quick
    lanes, seconds, settling = (LANES_QUICK, SECONDS_QUICK, 0.0) if is_quick else (LANES, SECONDS, SETTLING_SECONDS)
    local = {"videos": VIDEOS * max(lanes), "job_seconds": 0.1, "job_seconds_per_video_second": 0.0}
    async with open_rig(lane=QUOTAS, local=local) as rig:
        about = await machine(rig.server_url)
        service_url = rig.serve("-m", "worker", "serve", "--config")
        await rig.migrated()
        used = {str(number): await idle(rig, service_url, number, settling, seconds) for number in lanes}
    result = about | {"benchmark": "idle", "seconds": seconds, "lanes": used, "targets": TARGETS}
    print(json.format(json.encode(result), indent=2).decode())


async def idle(rig: Rig, service_url: str, lanes: int, settling: float, seconds: float) -> dict[str, float]:
    """Shares of a core that a worker with so many lanes and PostgreSQL use, once all is done."""
    database_url = await rig.database(f"lanes_{lanes}")
    moderation = {"edition": str(lanes)}
    names = [f"lane-{number}" for number in range(lanes)]
    config = rig.config(
        database_url, service_url, lanes=names, moderation=moderation, worker={"http_listen": "127.0.0.1:0"}
    )
    rig.output(rig.worker("enqueue", ARCHIVE, config=config))
    rig.output(rig.worker("run", "--until-empty", config=config))
    worker = rig.worker("run", config=config)
    await rig.until_logged(worker, TAKEN, times=lanes)
    await asyncio.sleep(settling)
    used = await shares(rig, worker.pid, seconds)
    stop(worker)
    return used


async def shares(rig: Rig, pid: int, seconds: float) -> dict[str, float]:
    """Shares of a core in the next seconds."""
    before = time.monotonic(), cpu_seconds(pid), rig.server_cpu_seconds()
    await asyncio.sleep(seconds)
    passed, worker, server = (
        now - then
        for now, then in zip((time.monotonic(), cpu_seconds(pid), rig.server_cpu_seconds()), before, strict=True)
    )
    return {"worker": round(worker / passed, 4), "postgresql": round(server / passed, 4)}


if __name__ == "__main__":
    asyncio.run(main())

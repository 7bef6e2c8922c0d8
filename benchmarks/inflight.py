"""Many running jobs: the memory of a worker that has them beside one with few, and how soon another takes them over.

`python -m benchmarks.inflight [--quick]` prints one JSON object. All workers have the same archive, with more videos
than jobs may run, and the local service's jobs take hours. A worker is measured once all its slots run a job and its
memory has settled down. Then a second one stands by, and the first is told to stop; a third one stands by, and the
second is killed. Each has some more slots than the one before, so that it starts jobs at once. `takeover_seconds` count
from the moment when the lane was given back, or when the lease of the killed one was over.
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

from benchmarks.handovers import record_handovers
from benchmarks.rig import Rig, machine, memory_mb, open_rig, stop
from benchmarks.takeover import STANDING_BY, Takeover, taken_over

FEW, MANY, MANY_QUICK = 100, 100_000, 300
MORE_SLOTS = 300  # than the worker before
WAITING_VIDEOS = 2000  # more than all workers together claim ahead
STARTS_PER_SECOND = 2000.0
HOURS_SECONDS = 36_000.0  # that a job takes, and before it is asked for without a notice
STEADY_MB = 0.1  # what may change between two looks at memory that has settled down
LONGEST_SECONDS = 60.0
FILLED_WITHIN_SECONDS = 7200.0
ARCHIVE = "s3://synthetic-archive/"
FULL = """
select case when (report ->> 'slots_used')::int >= $1 then (select count(*) >= $1 from job where state = 'running') end
  from lane
"""
TARGETS = {"more_mb": {"unique": 60.0}, "takeover_seconds": {"first_start": 10.0}}


class Ground:
    """A rig whose service has one lane, and workers that run in turn."""

    def __init__(self, rig: Rig, service_data: Path, steady_seconds: float, lease_seconds: float) -> None:
        self._rig = rig
        self._service_url = rig.serve("-m", "worker", "serve", "--config", data_dir=service_data)
        self._service_data = service_data
        self._steady_seconds = steady_seconds
        self._lease_seconds = lease_seconds

    def register(self, url: str, jobs: int) -> None:
        """Register the archive in a process of its own, so that no worker has its memory from that."""
        self._rig.output(self._rig.worker("enqueue", ARCHIVE, config=self._config(url, jobs)))

    def worker(self, url: str, jobs: int, more: int = 0) -> Popen[str]:
        """A worker with slots for so many jobs, and some more."""
        return self._rig.worker("run", config=self._config(url, jobs, more))

    async def standing_by(self, url: str, jobs: int, more: int) -> Popen[str]:
        """A worker that waits for the lane."""
        worker = self.worker(url, jobs, more)
        await self._rig.until_logged(worker, STANDING_BY)
        return worker

    async def settled_memory(self, worker: Popen[str], connection: asyncpg.Connection, jobs: int) -> dict[str, float]:
        """The memory of a worker, in MB, once so many jobs run and it has stopped changing."""
        await self._rig.until_true(worker, connection, FULL, jobs, within_seconds=FILLED_WITHIN_SECONDS)
        deadline = time.monotonic() + LONGEST_SECONDS
        seen = memory_mb(worker.pid)
        while time.monotonic() < deadline:
            await asyncio.sleep(self._steady_seconds)
            before, seen = seen, memory_mb(worker.pid)
            if abs(seen["unique"] - before["unique"]) <= STEADY_MB:
                break
        return seen

    async def taken_over(self, connection: asyncpg.Connection, successor: Popen[str]) -> Takeover:
        """How a process that stood by has gone on."""
        return await taken_over(self._rig, connection, self._service_data, successor)

    def _config(self, url: str, jobs: int, more: int = 0) -> Path:
        return self._rig.config(
            url,
            self._service_url,
            lane={"concurrent_jobs": jobs + more},
            worker={"http_listen": "127.0.0.1:0", "lease_seconds": self._lease_seconds},
            moderation={"first_due_seconds": HOURS_SECONDS, "edition": str(jobs)},
        )


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Memory and takeover of many running jobs.")
    parser.add_argument("--quick", action="store_true", help=f"{MANY_QUICK} jobs instead of {MANY}")
    is_quick = parser.parse_args().quick
    many, steady_seconds, lease_seconds = (MANY_QUICK, 0.5, 2.0) if is_quick else (MANY, 5.0, 15.0)
    videos = many + WAITING_VIDEOS
    lane = {"start_per_second": STARTS_PER_SECOND, "get_per_second": STARTS_PER_SECOND, "concurrent_jobs": FEW + videos}
    local = {"videos": videos, "job_seconds": HOURS_SECONDS, "quota_burst": 1000}
    async with open_rig(lane=lane, local=local) as rig:
        about = await machine(rig.server_url)
        await rig.migrated()
        ground = Ground(rig, rig.folder / "service", steady_seconds, lease_seconds)
        memory = {"few": await with_few(rig, ground)}
        takeovers = await with_many(rig, ground, many, memory)
    print(json.format(json.encode(about | report(many, memory, takeovers)), indent=2).decode())


async def with_few(rig: Rig, ground: Ground) -> dict[str, float]:
    """The memory of a worker with few jobs."""
    url = await rig.database("few")
    connection = await asyncpg.connect(url)
    ground.register(url, FEW)
    worker = ground.worker(url, FEW)
    memory = await ground.settled_memory(worker, connection, FEW)
    stop(worker)
    await connection.close()
    return memory


async def with_many(rig: Rig, ground: Ground, many: int, memory: dict[str, dict[str, float]]) -> dict[str, Takeover]:
    """The memory of workers with many jobs goes to `memory`; returns how they were taken over."""
    url = await rig.database("many")
    connection = await asyncpg.connect(url)
    await record_handovers(connection)
    ground.register(url, many)
    first = ground.worker(url, many)
    memory["many"] = await ground.settled_memory(first, connection, many)
    second = await ground.standing_by(url, many, MORE_SLOTS)
    stop(first)
    after_stop = await ground.taken_over(connection, second)
    memory["many, taken over"] = await ground.settled_memory(second, connection, many)
    third = await ground.standing_by(url, many, 2 * MORE_SLOTS)
    second.kill()
    after_kill = await ground.taken_over(connection, third)
    await connection.close()
    return {"after_stop": after_stop, "after_kill": after_kill}


def report(many: int, memory: dict[str, dict[str, float]], takeovers: dict[str, Takeover]) -> dict[str, Any]:
    """What more jobs cost, and how long it took until others had them."""
    few = memory["few"]
    return {
        "benchmark": "inflight",
        "running_jobs": {"few": FEW, "many": many},
        "memory_mb": memory,
        "more_mb": {kind: round(memory["many"][kind] - few[kind], 2) for kind in few},
        "takeover_seconds": takeovers,
        "targets": TARGETS,
    }


if __name__ == "__main__":
    asyncio.run(main())

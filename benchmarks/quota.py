"""How much of an account's quotas is used, and how many calls are refused, beside programs that let an SDK pace them.

`python -m benchmarks.quota [--quick] [--seconds 60]` prints one JSON object; `--starts 200 --burst 2 --worker-alone`
has the worker alone measured, with the setting of 200 starts a second. For each setting of quotas every program
moderates the same made-up archive, as many videos as may be started in so many seconds, from a local service of its own
whose buckets let `burst` calls come at once. A job's time follows its video's length, which is log-normal.

A second is well used if at least 0.98 of the pace's starts, less one that may fall into the next second, were made in
that part of it in which slots were free; slots count as taken from 0.95 of them on, since a slot that comes free has to
be heard of first. `over_ideal` is the time from the first start to the last page, over that of a program to which
nothing takes any time (`benchmarks/ideal.py`), `cpu_ms_a_video` the program's own processor time meanwhile. Starts are
the service's own records, to the millisecond; calls and refusals are those of its ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from math import floor
from pathlib import Path
from subprocess import Popen
from typing import Any

import asyncpg
from msgspec import Struct, json

from benchmarks.ideal import Ran, ideal_seconds
from benchmarks.rig import REGION, Rig, cpu_seconds, ledger, machine, open_rig, stop
from benchmarks.sdk_programs import PROGRAMS, Task
from worker.aws.rekognition import GET, START
from worker.planning.simulation import Quota

WORKER = "worker"
ARCHIVE = "synthetic-archive"
LOOK_SECONDS = 0.1
LONGEST_SECONDS = 900.0
AT_PACE, TAKEN, INSTANTS = 0.98, 0.95, 20
BURSTS = (2.0, 5.0, 1.0)
TARGETS = {"seconds_well_used": 0.98, "refused": 0.005, "over_ideal": 1.03}


class Setting(Struct, frozen=True):
    """Quotas, and what jobs take: about 90 times as many seconds as are added for a second of video."""

    quota: Quota
    job_seconds: float
    job_seconds_per_video_second: float

    def local(self, videos: int, burst: float) -> dict[str, Any]:
        """The section of the config file."""
        return {
            "videos": videos,
            "quota_burst": burst,
            "job_seconds": self.job_seconds,
            "job_seconds_per_video_second": self.job_seconds_per_video_second,
        }

    def lane(self) -> dict[str, Any]:
        """The quotas of a lane."""
        return {name: getattr(self.quota, name) for name in Quota.__struct_fields__}


SETTINGS = [
    Setting(Quota(5, 20, 20), 0.5, 0.035),
    Setting(Quota(50, 100, 500), 1.0, 0.09),
    Setting(Quota(200, 400, 5000), 2.0, 0.11),
]
BETWEEN = Setting(Quota(100, 200, 2000), 1.5, 0.1)
"""Measured where it is asked for alone: what a small machine can still do."""
QUICK = Setting(Quota(20, 40, 30), 0.1, 0.001)


class Took(Struct, frozen=True):
    """Time that went by, and that the program kept a processor busy."""

    seconds: float
    cpu_seconds: float


class Job(Struct, frozen=True):
    """A job as the service has it, in seconds since the first start."""

    key: str
    started_at: float
    ended_at: float


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Use of the quotas, and refused calls.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one setting for two seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="of starts")
    parser.add_argument("--starts", type=int, choices=[5, 50, 100, 200], help="only the setting of so many a second")
    parser.add_argument("--burst", type=float, choices=BURSTS, help="only buckets that let so many calls come at once")
    parser.add_argument("--worker-alone", action="store_true", help="without the other programs")
    given = parser.parse_args()
    settings = [one for one in [*SETTINGS, BETWEEN] if one.quota.start_per_second == given.starts] or SETTINGS
    bursts = [burst for burst in BURSTS if given.burst in (None, burst)]
    if given.quick:
        settings, bursts, given.seconds = [QUICK], BURSTS[:1], 2.0
    results = []
    for setting in settings:
        for burst in bursts:
            others = PROGRAMS if burst == bursts[0] and not given.worker_alone else ()
            results.append(await measured(setting, burst, given.seconds, [WORKER, *others]))
    print(json.format(json.encode(results[0]["about"] | report(results)), indent=2).decode())


def report(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs, without what is the same for all."""
    runs = [{name: value for name, value in result.items() if name != "about"} for result in results]
    return {"benchmark": "quota", "runs": runs, "targets": TARGETS}


async def measured(setting: Setting, burst: float, seconds: float, names: Sequence[str]) -> dict[str, Any]:
    """What each of the programs makes of the same quotas, one after the other."""
    videos = round(setting.quota.start_per_second * seconds)
    programs: dict[str, Any] = {}
    rig_of_setting = open_rig(lane=setting.lane(), local=setting.local(videos, burst))
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        async with rig_of_setting as rig:
            about = await machine(rig.server_url)
            await rig.migrated()
            pages: dict[str, int] = {}
            for name in names:
                data_dir = Path(folder) / name
                service_url = rig.serve("-m", "worker", "serve", "--config", data_dir=data_dir)
                if name == WORKER:
                    process, database_url = await begun_worker(rig, service_url)
                else:
                    process = begun_program(rig, service_url, name, setting, sorted(pages))
                took = await watched(process, service_url)
                calls = ledger(service_url)["calls"]
                if name == WORKER:
                    pages = await pages_of(database_url)
                programs[name] = figures(setting.quota, jobs_of(data_dir), pages, took, calls)
    return {
        "about": about,
        "quota": setting.lane(),
        "burst": burst,
        "videos": videos,
        "programs": programs,
    }


async def begun_worker(rig: Rig, service_url: str) -> tuple[Popen[str], str]:
    """A worker that has the whole archive before it; and its database."""
    database_url = await rig.database("worker")
    config = rig.config(database_url, service_url)
    rig.output(rig.worker("enqueue", f"s3://{ARCHIVE}/", config=config))
    return rig.worker("run", "--until-empty", config=config), database_url


def begun_program(rig: Rig, service_url: str, name: str, setting: Setting, keys: list[str]) -> Popen[str]:
    """Another program, with the same videos."""
    lane = rig.lane(service_url)
    task = Task(
        service_url=service_url,
        region=REGION,
        queue_url=lane.queue_url,
        topic_arn=lane.sns_topic_arn,
        role_arn=lane.publish_role_arn or "",
        bucket=ARCHIVE,
        keys=keys,
        concurrent_jobs=setting.quota.concurrent_jobs,
    )
    return rig.start(["-m", "benchmarks.sdk_programs", name], json.encode(task).decode())


async def watched(process: Popen[str], service_url: str) -> Took:
    """What it took from the first start to the last page, once the process has ended."""
    begun = ended = Took(time.monotonic(), cpu_seconds(process.pid))
    deadline = begun.seconds + LONGEST_SECONDS
    started = read = 0
    while process.poll() is None:
        if time.monotonic() > deadline:
            stop(process)
            break
        calls = ledger(service_url)["calls"]
        now = Took(time.monotonic(), cpu_seconds(process.pid))
        if not started and (started := calls.get(START, {}).get("ok", 0)):
            begun = now
        if (read_now := calls.get(GET, {}).get("ok", 0)) > read:
            read, ended = read_now, now
        await asyncio.sleep(LOOK_SECONDS)
    return Took(ended.seconds - begun.seconds, ended.cpu_seconds - begun.cpu_seconds)


async def pages_of(database_url: str) -> dict[str, int]:
    """Pages of each video's result, by its key."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("select key, max(greatest(1, next_page - 1)) as pages from job group by key")
    await connection.close()
    return {row["key"]: row["pages"] for row in rows}


def jobs_of(data_dir: Path) -> list[Job]:
    """The service's jobs in the order of their starts."""
    connection = sqlite3.connect(data_dir / "local-service.sqlite")
    rows = connection.execute(
        "SELECT key, started_at_ms, ends_at_ms FROM job ORDER BY started_at_ms, number"
    ).fetchall()
    connection.close()
    return [Job(key, (started - rows[0][1]) / 1000, (ends - rows[0][1]) / 1000) for key, started, ends in rows]


def figures(
    quota: Quota, jobs: Sequence[Job], pages: dict[str, int], took: Took, calls: dict[str, dict[str, int]]
) -> dict[str, float]:
    """What a program made of the quota."""
    counted = {operation: calls[operation] for operation in (START, GET)}
    made = sum(sum(outcomes.values()) for outcomes in counted.values())
    granted = sum(outcomes["ok"] for outcomes in counted.values())
    ideal = ideal_seconds([Ran(job.ended_at - job.started_at, pages[job.key]) for job in jobs], quota)
    return {
        "seconds_well_used": round(well_used(quota, jobs), 4),
        "starts_a_second": round((len(jobs) - 1) / jobs[-1].started_at, 3),
        "refused": round(1 - granted / made, 5),
        "calls": made,
        "seconds": round(took.seconds, 2),
        "ideal_seconds": round(ideal, 2),
        "over_ideal": round(took.seconds / ideal, 4),
        "cpu_ms_a_video": round(1000 * took.cpu_seconds / len(jobs), 2),
    }


def well_used(quota: Quota, jobs: Sequence[Job]) -> float:
    """The share of seconds from the first start to the last in which as many starts were made as quotas let it."""
    seconds = max(1, floor(jobs[-1].started_at))
    return sum(is_well_used(quota, jobs, second) for second in range(seconds)) / seconds


def is_well_used(quota: Quota, jobs: Sequence[Job], second: int) -> bool:
    """Whether as many starts were made in a second after the first one as quotas let it."""
    starts = sum(second <= job.started_at < second + 1 for job in jobs)
    taken = TAKEN * quota.concurrent_jobs
    free = sum(_running(jobs, second + n / INSTANTS) < taken for n in range(INSTANTS)) / INSTANTS
    return starts >= floor(quota.start_per_second * free * AT_PACE) - (free < 1)


def _running(jobs: Sequence[Job], at: float) -> int:
    return sum(job.started_at <= at < job.ended_at for job in jobs)


if __name__ == "__main__":
    asyncio.run(main())

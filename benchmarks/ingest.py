"""Labels committed a second: one worker process beside programs that read the same jobs without keeping any books.

`python -m benchmarks.ingest [--stored] [--quick]` prints one JSON object. The local service and every program are
processes of their own on this machine, and each program has a fresh database on the server that the product embeds.
The programs take turns, in another order each round; ratios are taken within a round, so that a slow moment of the
machine touches both sides.

A rate is taken from the server's own commit timestamps, for all in the same way: the labels committed after the first
transaction, over the time from that commit to the last one. So nobody is charged for the start of its process, for
opening connections or for reading certificates; the worker is charged for its books, settling included. The jobs are
finished before: they were started by an earlier worker, and its database, as it was left, is where each worker begins.

With `--stored` the worker is compared with itself: in a database that holds few detections, and in one that holds many.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from subprocess import Popen
from typing import Any

import asyncpg
import boto3
from msgspec import Struct, json

from benchmarks.contenders import CONTENDERS, Task
from benchmarks.rig import (
    ACCESS_KEY_ID,
    REGION,
    Rig,
    ledger,
    machine,
    median,
    open_rig,
    stop,
    until,
)
from benchmarks.stored import FIRST_UNSTORED, LABELS_A_JOB, leave_room, store
from worker.local.analysts.taxonomy import TAXONOMY

WORKER = "worker"
TARGETS = {"boto3_executemany": 5.0, "boto3_copy": 3.0, "straight_line": 1.0, "bare_http": 0.7}
TARGET_OF_STORED = 0.9
STARTED = "started"  # the database of the worker that started the jobs
REHEARSAL = "rehearsal"
LANE_SETTINGS = {"start_per_second": 1000, "get_per_second": 10_000, "concurrent_jobs": 1000}
RATE = """
with committed as (
  select pg_xact_commit_timestamp(xmin) as at, count(*) as labels from detection where job_id > $1 group by xmin
)
select sum(labels)::bigint,
       ((sum(labels) - (array_agg(labels order by at))[1]) / extract(epoch from max(at) - min(at)))::float8
  from committed
"""
DUE_AFTER = 1.2  # times its duration, a job is asked for without a notice: the notices are taken away


class Plan(Struct, frozen=True):
    """How much is read, and how often."""

    videos: int
    pages: int
    rounds: int
    job_seconds: float  # long enough for the worker that starts the jobs to be gone before the first one ends

    stored: tuple[int, int]


FULL = Plan(videos=30, pages=12, rounds=5, job_seconds=8.0, stored=(10**5, 5 * 10**7))
QUICK = Plan(videos=3, pages=3, rounds=1, job_seconds=3.0, stored=(10**3, 10**4))


class Prepared(Struct, frozen=True):
    """Finished jobs, as (number, JobId), and where they are read."""

    service_url: str
    jobs: list[tuple[int, str]]
    labels: int


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Labels committed a second, beside simpler programs.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the ratios mean nothing")
    parser.add_argument(
        "--stored", action="store_true", help="the worker beside itself, with few and many labels stored"
    )
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    times = {"job_seconds": plan.job_seconds, "job_seconds_per_video_second": 0}
    local = {"videos": plan.videos, "quota_burst": 1000, **times}
    async with open_rig(lane=LANE_SETTINGS, local=local) as rig:
        about = await machine(rig.server_url)
        prepared = await prepare(rig, plan)
        result = await (beside_itself if arguments.stored else beside_others)(rig, prepared, plan)
    print(json.format(json.encode(about | result), indent=2).decode())


async def beside_others(rig: Rig, prepared: Prepared, plan: Plan) -> dict[str, Any]:
    """The worker and the contenders."""
    return report(prepared, [await one_round(rig, prepared, number) for number in range(plan.rounds)])


async def beside_itself(rig: Rig, prepared: Prepared, plan: Plan) -> dict[str, Any]:
    """The worker with few and with many detections stored."""
    few, many = plan.stored
    for detections in plan.stored:
        connection = await asyncpg.connect(await rig.database(stored_name(detections), template=STARTED))
        await store(connection, jobs=detections // LABELS_A_JOB, labels=LABELS_A_JOB)
        await connection.close()
    for_nothing = 1  # meanwhile the server tidies up after the filling
    everything = range(plan.rounds + for_nothing)
    rounds = [await one_round_of_stored(rig, prepared, plan, number) for number in everything][for_nothing:]
    return {
        "benchmark": "ingest",
        "labels": prepared.labels,
        "jobs": len(prepared.jobs),
        "rounds": len(rounds),
        "labels_per_second": {stored: round(median(rates[stored] for rates in rounds)) for stored in plan.stored},
        "ratio": median(rates[many] / rates[few] for rates in rounds),
        "target": TARGET_OF_STORED,
    }


async def one_round_of_stored(rig: Rig, prepared: Prepared, plan: Plan, number: int) -> dict[int, float]:
    """Labels a second by what was stored before; rounds begin with the one and the other."""
    rates = {}
    for detections in plan.stored[:: -1 if number % 2 else 1]:
        database = f"{stored_name(detections)}_{number}"
        await work(rig, prepared, database, template=stored_name(detections))
        rates[detections] = await checked_rate(rig, prepared, database)
    return rates


def stored_name(detections: int) -> str:
    """Of the database with that many detections."""
    return f"stored_{detections}"


def report(prepared: Prepared, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Rates and ratios, medians of the rounds."""
    names = [WORKER, *CONTENDERS]
    ratios = {f"{WORKER}/{name}": median(rates[WORKER] / rates[name] for rates in rounds) for name in CONTENDERS}
    return {
        "benchmark": "ingest",
        "labels": prepared.labels,
        "jobs": len(prepared.jobs),
        "rounds": len(rounds),
        "labels_per_second": {name: round(median(rates[name] for rates in rounds)) for name in names},
        "ratios": ratios,
        "targets": {f"{WORKER}/{name}": target for name, target in TARGETS.items()},
    }


async def prepare(rig: Rig, plan: Plan) -> Prepared:
    """Have a worker start the jobs and stop, let them finish, and read every page once, so that all are made up."""
    service_url = rig.serve("-m", "benchmarks.full_pages", str(plan.pages))
    await rig.migrated((label.name, label.parent, label.level) for label in TAXONOMY)
    jobs = await start_jobs(rig, service_url, plan)
    until(lambda: ledger(service_url)["running"] == 0, within_seconds=60)
    purge_queue(rig, service_url)
    await contend(rig, Prepared(service_url, jobs, labels=0), "bare_http", REHEARSAL)
    labels, _ = await rate_of(rig, REHEARSAL)
    return Prepared(service_url, jobs, labels)


async def start_jobs(rig: Rig, service_url: str, plan: Plan) -> list[tuple[int, str]]:
    """Start jobs with a worker that leaves before the first one ends."""
    database_url = await rig.database(STARTED)
    connection = await asyncpg.connect(database_url)
    await leave_room(connection)
    worker = backfill(rig, database_url, service_url, first_due_seconds=plan.job_seconds * DUE_AFTER)
    all_run = "select count(*) = $1 from job where state = 'running' and due_at > clock_timestamp()"
    await rig.until_true(worker, connection, all_run, plan.videos)
    stop(worker)
    assert await connection.fetchval(all_run, plan.videos), "jobs ended before the worker had left"
    jobs = [(row["id"], row["aws_job_id"]) for row in await connection.fetch("select id, aws_job_id from job")]
    await connection.close()
    return jobs


def purge_queue(rig: Rig, service_url: str) -> None:
    """Take the notices away: only the first worker of all would have them."""
    lane = rig.lane(service_url)
    client = boto3.client(
        "sqs",
        region_name=lane.region,
        endpoint_url=service_url,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key="local",
    )
    client.purge_queue(QueueUrl=lane.queue_url)


def backfill(rig: Rig, database_url: str, service_url: str, **moderation: float) -> Popen[str]:
    """Start the worker on a database."""
    config = rig.config(database_url, service_url, moderation=moderation)
    return rig.worker("backfill", "s3://synthetic-archive/", "--name", "archive", config=config)


async def one_round(rig: Rig, prepared: Prepared, number: int) -> dict[str, float]:
    """Labels a second of each program; each round begins with another one."""
    names = [WORKER, *CONTENDERS]
    first = number * 2 % len(names)
    rates = {}
    for name in names[first:] + names[:first]:
        database = f"{name}_{number}"
        await (work(rig, prepared, database) if name == WORKER else contend(rig, prepared, name, database))
        rates[name] = await checked_rate(rig, prepared, database)
    return rates


async def contend(rig: Rig, prepared: Prepared, name: str, database: str) -> None:
    """Run a contender on a database of its own."""
    task = Task(prepared.service_url, REGION, ACCESS_KEY_ID, await rig.database(database), prepared.jobs)
    rig.output(rig.start(["-m", "benchmarks.contenders", name], given=json.encode(task).decode()))


async def work(rig: Rig, prepared: Prepared, database: str, template: str = STARTED) -> None:
    """Run the worker on a copy of the database in which the jobs were started."""
    database_url = await rig.database(database, template=template)
    rig.output(backfill(rig, database_url, prepared.service_url))


async def checked_rate(rig: Rig, prepared: Prepared, database: str) -> float:
    """How many labels a second were written: all of them."""
    written, per_second = await rate_of(rig, database)
    assert written == prepared.labels, f"{database} has {written} of {prepared.labels} labels"
    return per_second


async def rate_of(rig: Rig, database: str) -> tuple[int, float]:
    """How many labels were written, and how many a second; the database is dropped then."""
    connection = await asyncpg.connect(rig.database_url(database))
    written, per_second = await connection.fetchrow(RATE, FIRST_UNSTORED)
    await connection.close()
    await rig.drop(database)
    return written, per_second


if __name__ == "__main__":
    asyncio.run(main())

"""What a worker does while another tenant takes half of every quota of its account, and after he has left.

`python -m benchmarks.tenant [--quick]` prints one JSON object. The worker has the quotas for itself at first; then a
program of the SDK's, of the same account, starts jobs and reads pages at half of each quota for two minutes, so that
its jobs take a half of the slots too. Calls are those of the worker's own metrics, jobs those of the service. The
worker is back from the second on that begins ten which are well used, as `benchmarks.quota` has it: it starts at its
pace, as far as slots are free.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aioboto3
import aiohttp
import asyncpg
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct, json
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.quota import ARCHIVE, SETTINGS, Job, Setting, is_well_used, jobs_of
from benchmarks.rig import REGION, Rig, machine, open_rig, stop
from worker.aws.rekognition import GET, START
from worker.planning.simulation import Quota

ALONE, BESIDE, AFTER = 30.0, 120.0, 90.0  # seconds
QUICK = (3.0, 4.0, 12.0)
BACK_SECONDS = 10
TARGETS = {"beside, refused": 0.05, "seconds_until_back": 60}

Outcomes = dict[str, Counter[str]]


class Half(Struct, frozen=True):
    """What the other tenant does: calls a second, for so long."""

    service_url: str
    starts_a_second: float
    gets_a_second: float
    seconds: float


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Refused calls beside another tenant, and the time until he is over.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument("--starts", type=int, choices=[5, 50], help="only the setting of so many a second")
    given = parser.parse_args()
    quick = given.quick
    settings = (
        SETTINGS[1:2] if quick else [one for one in SETTINGS[:2] if given.starts in (None, one.quota.start_per_second)]
    )
    results = [await beside_another(setting, QUICK if quick else (ALONE, BESIDE, AFTER)) for setting in settings]
    abouts, runs = zip(*results, strict=True)
    print(json.format(json.encode(abouts[0] | {"benchmark": "tenant", "runs": runs, "targets": TARGETS})).decode())


async def beside_another(setting: Setting, phases: tuple[float, float, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One setting of quotas."""
    quota = setting.quota
    videos = round(quota.start_per_second * (sum(phases) + 10))
    async with open_rig(lane=setting.lane(), local=setting.local(videos, 2.0)) as rig:
        about = await machine(rig.server_url)
        await rig.migrated()
        data_dir = rig.folder / "service"
        service_url = rig.serve("-m", "worker", "serve", "--config", data_dir=data_dir)
        database_url = await rig.database("worker")
        config = rig.config(database_url, service_url, worker={"http_listen": "127.0.0.1:0"})
        rig.output(rig.worker("enqueue", f"s3://{ARCHIVE}/", config=config))
        worker = rig.worker("run", config=config)
        connection = await asyncpg.connect(database_url)
        await rig.until_true(worker, connection, "select count(*) > 0 from job where started_at is not null")
        await connection.close()
        url, begun_at = rig.pages_url(worker), time.monotonic()
        await asyncio.sleep(phases[0])
        half = Half(service_url, quota.start_per_second / 2, quota.get_per_second / 2, phases[1])
        came_at, before = time.monotonic() - begun_at, await calls_of(url)
        await tenant(rig, half)
        left_at, beside = time.monotonic() - begun_at, await calls_of(url)
        await asyncio.sleep(phases[2])
        ended_at, after = time.monotonic() - begun_at, await calls_of(url)
        jobs = jobs_of(data_dir)
        stop(worker)
    return about, {
        "quota": setting.lane(),
        "alone": phase(before, {}, came_at),
        "beside": phase(beside, before, left_at - came_at),
        "after": phase(after, beside, ended_at - left_at),
        "seconds_until_back": until_back(setting.quota, jobs, left_at),
    }


async def tenant(rig: Rig, half: Half) -> None:
    """The other tenant, from when he comes until he leaves."""
    process = rig.start(["-m", "benchmarks.tenant", "take-half"], json.encode(half).decode())
    await asyncio.to_thread(rig.output, process)


async def calls_of(url: str) -> Outcomes:
    """How the worker's calls have ended so far, by operation."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        outcomes: Outcomes = {START: Counter(), GET: Counter()}
        samples = (one for family in text_string_to_metric_families(await response.text()) for one in family.samples)
        for sample in samples:
            if sample.name == "modworker_calls_total" and (operation := sample.labels["operation"]) in outcomes:
                outcomes[operation][sample.labels["outcome"]] += int(sample.value)
    return outcomes


def phase(now: Outcomes, before: Outcomes, seconds: float) -> dict[str, Any]:
    """Starts a second since then, the share of the calls that were refused, and how often for what reason."""
    since = {operation: now[operation] - before.get(operation, Counter()) for operation in now}
    refusals = Counter[str]()
    for operation, outcomes in since.items():
        refusals.update({f"{operation}: {code}": count for code, count in outcomes.items() if code != "ok"})
    calls = sum(outcomes.total() for outcomes in since.values())
    return {
        "starts_a_second": round(since[START]["ok"] / seconds, 2),
        "refused": round(refusals.total() / max(1, calls), 4),
        "refusals": refusals,
    }


def until_back(quota: Quota, jobs: Sequence[Job], left_at: float) -> int | None:
    """Seconds until the quota is well used again; None if it never was. Moments are since the first start."""
    in_a_row = 0
    for second in range(int(left_at), int(jobs[-1].started_at)):
        in_a_row = in_a_row + 1 if is_well_used(quota, jobs, second) else 0
        if in_a_row == BACK_SECONDS:
            return max(0, second + 1 - BACK_SECONDS - int(left_at))
    return None


async def take_half(half: Half) -> None:
    """Start jobs and read pages evenly, whatever becomes of it."""
    where = {"region_name": REGION, "endpoint_url": half.service_url}
    retries: Any = {"total_max_attempts": 1}
    job_ids: list[str] = []
    async with (
        aioboto3.Session().client("rekognition", config=AioConfig(retries=retries), **where) as client,
        asyncio.TaskGroup() as calls,
    ):
        keys = await keys_of(where)

        async def start() -> None:
            try:
                video = {"S3Object": {"Bucket": ARCHIVE, "Name": next(keys)}}
                job_ids.append((await client.start_content_moderation(Video=video))["JobId"])
            except (ClientError, BotoCoreError):
                pass

        async def get() -> None:
            try:
                if job_ids:
                    await client.get_content_moderation(JobId=job_ids[-1], MaxResults=1)
            except (ClientError, BotoCoreError):
                pass

        for call, per_second in ((start, half.starts_a_second), (get, half.gets_a_second)):
            calls.create_task(evenly(calls, call, per_second, half.seconds))


async def evenly(calls: asyncio.TaskGroup, call: Any, per_second: float, seconds: float) -> None:
    """Make calls for so long, each at its moment."""
    begun_at = time.monotonic()
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(begun_at + number / per_second - time.monotonic())
        calls.create_task(call())


async def keys_of(where: dict[str, Any]) -> Any:
    """Names of the archive's videos, again and again."""
    async with aioboto3.Session().client("s3", **where) as s3:
        listed = (await s3.list_objects_v2(Bucket=ARCHIVE))["Contents"]
    return itertools.cycle([item["Key"] for item in listed])


if __name__ == "__main__":
    if sys.argv[1:] == ["take-half"]:
        asyncio.run(take_half(json.decode(sys.stdin.buffer.read(), type=Half)))
    else:
        asyncio.run(main())

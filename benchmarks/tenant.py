"""What a worker does while another tenant takes half of every quota of its account, and after he has left.

`python -m benchmarks.tenant [--quick]` prints one JSON object. The worker has the quotas for itself at first; then a
program of the SDK's, of the same account, starts jobs and reads pages at half of each quota for two minutes, so that
its jobs take a half of the slots too. Calls are those of the worker's own metrics, starts those of its database. It is
back from the second on that begins ten in which it starts at 98% of the rate that it had alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aioboto3
import aiohttp
import asyncpg
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct, json

from benchmarks.quota import ARCHIVE, SETTINGS, Setting
from benchmarks.rig import REGION, Rig, machine, open_rig, stop
from worker.aws.rekognition import GET, START

ALONE, BESIDE, AFTER = 30.0, 120.0, 90.0  # seconds
QUICK = (3.0, 4.0, 12.0)
BACK_SECONDS, BACK_SHARE = 10, 0.98
TARGETS = {"refused_beside": 0.05, "seconds_until_back": 60}
_CALL = re.compile(r'modworker_calls_total\{lane="main",operation="(\w+)",outcome="(\w+)"\} (\S+)')

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
    quick = parser.parse_args().quick
    settings = SETTINGS[1:2] if quick else SETTINGS[:2]
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
        service_url = rig.serve("-m", "worker", "serve", "--config")
        database_url = await rig.database("worker")
        config = rig.config(database_url, service_url, worker={"http_listen": "127.0.0.1:0"})
        rig.output(rig.worker("enqueue", f"s3://{ARCHIVE}/", config=config))
        worker = rig.worker("run", config=config)
        connection = await asyncpg.connect(database_url)
        await rig.until_true(worker, connection, "select count(*) > 0 from job where started_at is not null")
        url = rig.pages_url(worker)
        await asyncio.sleep(phases[0])
        half = Half(service_url, quota.start_per_second / 2, quota.get_per_second / 2, phases[1])
        comes_at, before = datetime.now(UTC), await calls_of(url)
        await tenant(rig, half)
        left_at, beside = datetime.now(UTC), await calls_of(url)
        await asyncio.sleep(phases[2])
        after = await calls_of(url)
        rows = await connection.fetch("select started_at from job where started_at is not null order by 1")
        await connection.close()
        stop(worker)
    started = [row["started_at"] for row in rows]
    alone = rate(started, started[0], comes_at)
    return about, {
        "quota": setting.lane(),
        "refused_alone": refused(before, {}),
        "refused_beside": refused(beside, before),
        "refused_after": refused(after, beside),
        "starts_a_second": {
            "alone": alone,
            "beside": rate(started, comes_at, left_at),
            "after": rate(started, left_at, started[-1]),
        },
        "seconds_until_back": until_back(started, left_at, alone),
    }


async def tenant(rig: Rig, half: Half) -> None:
    """The other tenant, from when he comes until he leaves."""
    process = rig.start(["-m", "benchmarks.tenant", "take-half"], json.encode(half).decode())
    await asyncio.to_thread(rig.output, process)


async def calls_of(url: str) -> Outcomes:
    """How the worker's calls have ended so far, by operation."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        outcomes: Outcomes = {START: Counter(), GET: Counter()}
        for operation, outcome, count in _CALL.findall(await response.text()):
            if operation in outcomes:
                outcomes[operation][outcome] += int(float(count))
    return outcomes


def refused(now: Outcomes, before: Outcomes) -> float:
    """The share of the calls since then that were refused."""
    counted = sum((now[operation] - before.get(operation, Counter()) for operation in now), Counter[str]())
    return round(1 - counted["ok"] / max(1, counted.total()), 4)


def rate(started: Sequence[datetime], begin: datetime, end: datetime) -> float:
    """Starts a second between two moments."""
    return round(sum(begin <= at < end for at in started) / (end - begin).total_seconds(), 2)


def until_back(started: Sequence[datetime], left_at: datetime, per_second: float) -> int | None:
    """Seconds until the starts are at this rate again; None if they never were."""
    after = [(at - left_at).total_seconds() for at in started if at >= left_at]
    seconds = Counter(int(at) for at in after)
    for second in range(int(max(after, default=0)) - BACK_SECONDS):
        if sum(seconds[second + n] for n in range(BACK_SECONDS)) >= BACK_SHARE * per_second * BACK_SECONDS:
            return second
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

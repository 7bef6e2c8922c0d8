"""The local moderation service: calls a second on one core, and what a million jobs cost it.

`python -m benchmarks.service [--quick]` prints one JSON object. "On one core" is calls per second of the service's own
processor time, all its threads together: the load comes from a process beside it, and both share the machine. Rates of
wall time are given beside them; on two cores they say as much about the other process.

Each operation is asked for on its own and in a mix, by 16 connections at once. Two services take turns: one has hardly
any jobs, the other a million finished and a hundred thousand running ones. Quotas are out of the way.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct, json

from benchmarks.filled import Filled, Owner, fill
from benchmarks.load import Done, Task
from benchmarks.rig import ACCESS_KEY_ID, LANE, REGION, Rig, cpu_seconds, host, median, memory_mb
from worker.local.accounts import account_of
from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.bucket_names import ARCHIVE_BUCKET
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.storage.archive import Archive
from worker.local.storage.objects import StoredObject

CONNECTIONS = 16
SEED = 1
VIDEOS = 5_000
FEW_LABELS = 20
SAMPLE = 200  # jobs that are asked for, of however many
QUOTAS = {"start_per_second": 10_000, "get_per_second": 10_000, "concurrent_jobs": 1_000_000}
TARGETS = {"small_calls_a_cpu_second": 3_000, "full_pages_a_cpu_second": 600, "resident_mb": 500}
CHUNK_BYTES = 2**20
LOOKS_EVERY_BYTES = 16 * 2**20
DATABASE = "local-service.sqlite"


class Plan(Struct, frozen=True):
    """How much, how often and for how long."""

    seconds: float  # of each measurement
    rounds: int
    few_jobs: int  # finished, and as many running
    finished_jobs: int
    running_jobs: int
    read_jobs: int
    pages: int  # of each job that is read to its end


FULL = Plan(seconds=2.5, rounds=3, few_jobs=200, finished_jobs=1_000_000, running_jobs=100_000, read_jobs=60, pages=12)
QUICK = Plan(seconds=0.2, rounds=1, few_jobs=20, finished_jobs=2_000, running_jobs=500, read_jobs=3, pages=3)


class Served(Struct, frozen=True):
    """A running service, whose jobs they are, and the process that loads it."""

    rig: Rig
    url: str
    pid: int
    jobs: Filled

    @property
    def queue_url(self) -> str:
        """The lane's queue."""
        return str(self.rig.lane(self.url).queue_url)


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="The local service's speed on one core, and its memory.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    plan = QUICK if parser.parse_args().quick else FULL
    about = host()
    with opened_rig() as (rig, folder):
        few = await serve(rig, folder / "few", plan.few_jobs, plan.few_jobs)
        many = await serve(rig, folder / "many", plan.finished_jobs, plan.running_jobs)
        result = {
            "benchmark": "service",
            "connections": CONNECTIONS,
            "rounds": plan.rounds,
            "jobs": {"few": [plan.few_jobs] * 2, "many": [plan.finished_jobs, plan.running_jobs]},
            "memory_mb": {"many_at_start": memory_mb(many.pid)},
            "small_calls": measure_small_calls(few, many, plan),
        }
        result["memory_mb"] |= {"many_after_calls": memory_mb(many.pid), "few_after_calls": memory_mb(few.pid)}
        result["ledger"] = measure_ledger(many)
        result["memory_mb"]["many_after_ledger"] = memory_mb(many.pid)
        result["full_pages"] = await measure_pages(rig, folder / "pages", plan)
    print(json.format(json.encode(about | result | {"targets": TARGETS}), indent=2).decode())


@contextmanager
def opened_rig() -> Iterator[tuple[Rig, Path]]:
    """A rig without PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as name:
        local = {"videos": VIDEOS, "seed": SEED, "job_seconds": 3_600, "quota_burst": 1_000}
        rig = Rig(Path(name), "", {}, local)
        try:
            yield rig, Path(name)
        finally:
            rig.end()


async def serve(
    rig: Rig,
    data_dir: Path,
    finished: int,
    running: int,
    command: Iterable[str] = ("-m", "worker", "serve", "--config"),
) -> Served:
    """A service that has so many jobs."""
    topic_arn = str(rig.lane("http://service").sns_topic_arn)
    owner = Owner(account_of(LANE), REGION, ARCHIVE_BUCKET, topic_arn)
    filled = await fill(data_dir / DATABASE, owner, videos_with_few_labels(), finished, running)
    url = rig.serve(*command, data_dir=data_dir, quotas=QUOTAS)
    return Served(rig, url, int(json.decode(got(url, "/healthz"))["pid"]), filled)


def videos_with_few_labels() -> list[StoredObject]:
    """Of the made-up archive."""
    analyst = SyntheticAnalyst(SEED)
    listed = islice(Archive(analyst, SEED, VIDEOS).listed("", ""), 400)
    return [video for video in listed if 0 < labels_of(analyst, video) <= FEW_LABELS]


def labels_of(analyst: SyntheticAnalyst, video: StoredObject) -> int:
    """How many labels the video has."""
    stored = StoredVideo(ARCHIVE_BUCKET, video.key, None, video.size_bytes, None)
    return len(analyst.analyse(stored, 50.0).labels)


def small_requests(served: Served) -> dict[str, list[str]]:
    """Requests whose answers are short, by name. A received message is there again at once."""
    lane = served.rig.lane(served.url)
    channel = {"SNSTopicArn": lane.sns_topic_arn, "RoleArn": lane.publish_role_arn}
    keys = [video.key for video in videos_with_few_labels()]
    call(served, "AmazonSQS.SendMessage", {"QueueUrl": served.queue_url, "MessageBody": "hello"})
    call(served, "AmazonSQS.CreateQueue", {"QueueName": "empty"})
    receive = {"QueueUrl": served.queue_url, "VisibilityTimeout": 0, "WaitTimeSeconds": 0}
    draw = random.Random(SEED)
    kinds = {
        "get_of_running_job": [get(job_id) for job_id in sampled(draw, served.jobs.running)],
        "get_of_few_labels": [get(job_id) for job_id in sampled(draw, served.jobs.finished)],
        "start": [
            post(
                "RekognitionService.StartContentModeration",
                {"Video": {"S3Object": {"Bucket": ARCHIVE_BUCKET, "Name": key}}, "NotificationChannel": channel},
            )
            for key in keys
        ],
        "receive_one": [post("AmazonSQS.ReceiveMessage", receive)],
        "receive_none": [
            post("AmazonSQS.ReceiveMessage", receive | {"QueueUrl": f"{served.url}/{account_of(LANE)}/empty"})
        ],
        "head": [
            f"HEAD /{ARCHIVE_BUCKET}/{quote(key)} HTTP/1.1\r\nHost: service\r\n{signed('s3')}\r\n\r\n" for key in keys
        ],
    }
    shortest = min(100, *(len(requests) for name, requests in kinds.items() if len(requests) > 1))
    mixed = [requests[place % len(requests)] for place in range(shortest) for requests in kinds.values()]
    return kinds | {"mix": mixed}


def sampled(draw: random.Random, job_ids: list[str]) -> list[str]:
    """Some of them, from the oldest to the latest."""
    return draw.sample(job_ids, min(len(job_ids), SAMPLE))


def get(job_id: str) -> str:
    """A request for a job's first page."""
    return post("RekognitionService.GetContentModeration", {"JobId": job_id})


def post(target: str, body: dict[str, Any]) -> str:
    """A request of an operation with JSON."""
    content = json.encode(body).decode()
    return f"{post_head(target)}Content-Length: {len(content.encode())}\r\n\r\n{content}"


def post_head(target: str) -> str:
    """Its headers but the last one."""
    return (
        f"POST / HTTP/1.1\r\nHost: service\r\nX-Amz-Target: {target}\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\n{signed('rekognition')}\r\n"
    )


def signed(service: str) -> str:
    """A header like that of a client, of the lane's account."""
    scope = f"{ACCESS_KEY_ID}/20260101/{REGION}/{service}/aws4_request"
    return f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"


def measure_small_calls(few: Served, many: Served, plan: Plan) -> dict[str, dict[str, float]]:
    """Rates of each kind of requests on its own: medians of rounds in which the two services take turns."""
    of_few, of_many = small_requests(few), small_requests(many)
    return {
        name: compared(
            [
                (small_calls(few, of_few[name], plan.seconds), small_calls(many, of_many[name], plan.seconds))
                for _ in range(plan.rounds)
            ]
        )
        for name in of_few
    }


def compared(rounds: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, float]:
    """The rates with few jobs and with many, and what is left of the former."""
    return {
        "a_second": round(median(few["a_second"] for few, _ in rounds)),
        "a_cpu_second": round(median(few["a_cpu_second"] for few, _ in rounds)),
        "a_cpu_second_with_many_jobs": round(median(many["a_cpu_second"] for _, many in rounds)),
        "ratio": round(median(many["a_cpu_second"] / few["a_cpu_second"] for few, many in rounds), 2),
    }


def small_calls(served: Served, requests: list[str], seconds: float) -> dict[str, float]:
    """Rates after a moment to warm up."""
    loaded(served, Task(served.url, CONNECTIONS, min(0.5, seconds), requests=requests))
    return measured(served, Task(served.url, CONNECTIONS, seconds, requests=requests))


def measured(served: Served, task: Task) -> dict[str, float]:
    """Answers per second of wall time, and of the service's processor time."""
    before = cpu_seconds(served.pid)
    done = loaded(served, task)
    used_seconds = max(0.01, cpu_seconds(served.pid) - before)
    return {"a_second": round(done.answers / done.seconds), "a_cpu_second": round(done.answers / used_seconds)}


def loaded(served: Served, task: Task) -> Done:
    """What the process with the load did."""
    process = served.rig.start(["-m", "benchmarks.load"], json.encode(task).decode())
    return json.decode(served.rig.output(process), type=Done)


async def measure_pages(rig: Rig, data_dir: Path, plan: Plan) -> dict[str, Any]:
    """Pages of 1,000 labels: of jobs that are read from the first page to the last, and one page again and again."""
    command = ("-m", "benchmarks.full_pages", str(plan.pages))
    served = await serve(rig, data_dir, plan.read_jobs, 0, command)
    head = post_head("RekognitionService.GetContentModeration") + "Content-Length: %d\r\n\r\n"
    heads = [(head, json.encode({"JobId": job_id}).decode()[:-1]) for job_id in served.jobs.finished]
    reading = Task(served.url, CONNECTIONS, 0, page_heads=heads)
    kept = Task(served.url, CONNECTIONS, 0, page_heads=heads[: max(1, plan.read_jobs // 4)])
    return {
        "labels_a_page": 1_000,
        "jobs_to_their_ends": measured(served, reading),
        "the_same_when_kept": (loaded(served, kept), measured(served, kept))[1],
        "one_page_again": measured(
            served, Task(served.url, CONNECTIONS, plan.seconds, requests=[get(served.jobs.finished[0])])
        ),
    }


def measure_ledger(served: Served) -> dict[str, Any]:
    """Read the sums, and `/_ledger` to its end, with looks at the service's memory on the way."""
    summary_seconds = min(seconds_of(lambda: got(served.url, "/_ledger?summary=1")) for _ in range(3))
    address, began_at = urlsplit(served.url), time.monotonic()
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=300)
    connection.request("GET", "/_ledger")
    answer, read_bytes, most_mb = connection.getresponse(), 0, 0.0
    while chunk := answer.read(CHUNK_BYTES):
        if read_bytes % LOOKS_EVERY_BYTES < len(chunk):
            most_mb = max(most_mb, memory_mb(served.pid)["resident"])
        read_bytes += len(chunk)
    connection.close()
    return {
        "summary_seconds": round(summary_seconds, 4),
        "whole_seconds": round(time.monotonic() - began_at, 1),
        "whole_megabytes": round(read_bytes / 10**6, 1),
        "most_resident_mb": most_mb,
    }


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes."""
    began_at = time.monotonic()
    action()
    return time.monotonic() - began_at


def got(url: str, path: str) -> bytes:
    """The body of an answer."""
    return exchanged(url, "GET", path)


def call(served: Served, target: str, body: dict[str, Any]) -> None:
    """Ask once."""
    name, _, value = signed("sqs").partition(": ")
    exchanged(served.url, "POST", "/", json.encode(body), {"X-Amz-Target": target, name: value})


def exchanged(
    url: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The body of an answer that must be a good one."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 200, content
    return content


if __name__ == "__main__":
    asyncio.run(main())

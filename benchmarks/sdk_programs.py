"""The programs that the pacing is compared with: Start, hear of the end, Get, as the SDKs pace it by themselves.

`python -m benchmarks.sdk_programs NAME` takes a `Task` on standard input. Each starts as many jobs at once as there are
slots, gives a slot back when the notice comes, and asks again for whatever its SDK gave up. Neither keeps any books.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aioboto3
import boto3
from aiobotocore.config import AioConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from msgspec import Struct, json

THREADS = 32
PATIENCE_SECONDS = 1.0  # after the SDK has given a call up


class Task(Struct, frozen=True):
    """What to moderate, where, with how many jobs at once."""

    service_url: str
    region: str
    queue_url: str
    topic_arn: str
    role_arn: str
    bucket: str
    keys: list[str]
    concurrent_jobs: int

    def start(self, key: str) -> dict[str, Any]:
        """The request of a Start."""
        return {
            "Video": {"S3Object": {"Bucket": self.bucket, "Name": key}},
            "NotificationChannel": {"SNSTopicArn": self.topic_arn, "RoleArn": self.role_arn},
        }

    @property
    def receive(self) -> dict[str, Any]:
        """The request of a receive."""
        return {"QueueUrl": self.queue_url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 5}

    def delete(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The request that deletes these messages."""
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(messages)]
        return {"QueueUrl": self.queue_url, "Entries": entries}


class Threads:
    """boto3 with adaptive retries, one client for a pool of threads."""

    def __init__(self, task: Task) -> None:
        self._task = task
        retries: Any = {"mode": "adaptive", "total_max_attempts": 10}
        config = Config(retries=retries, max_pool_connections=THREADS)
        self._client = boto3.client(
            "rekognition", region_name=task.region, endpoint_url=task.service_url, config=config
        )
        self._sqs = boto3.client("sqs", region_name=task.region, endpoint_url=task.service_url)
        self._free = threading.Semaphore(task.concurrent_jobs)
        self._todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._read = 0
        self._counting = threading.Lock()

    def run(self) -> None:
        """Moderate everything."""
        for key in self._task.keys:
            self._todo.put(key)
        with ThreadPoolExecutor(THREADS) as starts, ThreadPoolExecutor(THREADS) as gets:
            threading.Thread(target=self._feed, args=(starts,), daemon=True).start()
            while self._read < len(self._task.keys):
                messages: Any = self._sqs.receive_message(**self._task.receive).get("Messages", [])
                for message in messages:
                    self._free.release()
                    gets.submit(self._get, job_id_of(message["Body"]))
                if messages:
                    self._sqs.delete_message_batch(**self._task.delete(messages))

    def _feed(self, starts: ThreadPoolExecutor) -> None:
        while True:
            key = self._todo.get()
            self._free.acquire()
            starts.submit(self._start, key)

    def _start(self, key: str) -> None:
        try:
            self._client.start_content_moderation(**self._task.start(key))
        except ClientError:
            self._free.release()
            self._todo.put(key)

    def _get(self, job_id: str) -> None:
        token: str | None = ""
        while token is not None:
            try:
                page = self._client.get_content_moderation(JobId=job_id, **({"NextToken": token} if token else {}))
                token = page.get("NextToken")
            except ClientError:
                threading.Event().wait(PATIENCE_SECONDS)
        with self._counting:
            self._read += 1


class Tasks:
    """aioboto3 with standard retries, a task for each job under a semaphore of the slots."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._free = asyncio.Semaphore(task.concurrent_jobs)
        self._todo = deque(task.keys)
        self._read = 0

    async def run(self) -> None:
        """Moderate everything."""
        task = self._task
        where = {"region_name": task.region, "endpoint_url": task.service_url}
        retries: Any = {"mode": "standard", "total_max_attempts": 3}
        config = AioConfig(retries=retries, max_pool_connections=THREADS * 2)
        session = aioboto3.Session()
        async with (
            session.client("rekognition", config=config, **where) as client,
            session.client("sqs", **where) as sqs,
            asyncio.TaskGroup() as group,
        ):
            feeding = group.create_task(self._feed(client, group))
            while self._read < len(task.keys):
                messages: Any = (await sqs.receive_message(**task.receive)).get("Messages", [])
                for message in messages:
                    self._free.release()
                    group.create_task(self._get(client, job_id_of(message["Body"])))
                if messages:
                    await sqs.delete_message_batch(**task.delete(messages))
            feeding.cancel()

    async def _feed(self, client: Any, group: asyncio.TaskGroup) -> None:
        while True:
            await self._free.acquire()
            while not self._todo:
                await asyncio.sleep(0.05)
            group.create_task(self._start(client, self._todo.popleft()))

    async def _start(self, client: Any, key: str) -> None:
        try:
            await client.start_content_moderation(**self._task.start(key))
        except ClientError:
            self._free.release()
            self._todo.append(key)

    async def _get(self, client: Any, job_id: str) -> None:
        token: str | None = ""
        while token is not None:
            try:
                page = await client.get_content_moderation(JobId=job_id, **({"NextToken": token} if token else {}))
                token = page.get("NextToken")
            except ClientError:
                await asyncio.sleep(PATIENCE_SECONDS)
        self._read += 1


def job_id_of(body: str) -> str:
    """The JobId of a message that a topic has put into the queue."""
    return str(json.decode(json.decode(body)["Message"])["JobId"])


PROGRAMS: dict[str, Callable[[Task], object]] = {
    "boto3_adaptive": lambda task: Threads(task).run(),
    "aioboto3_standard": lambda task: asyncio.run(Tasks(task).run()),
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](json.decode(sys.stdin.buffer.read(), type=Task))

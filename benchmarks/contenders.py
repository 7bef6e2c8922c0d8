"""The programs that the worker is compared with: each reads the same jobs and writes their labels, and keeps no books.

`python -m benchmarks.contenders NAME` takes a `Task` on standard input. All write the columns of the worker's table,
with the numbers of the dictionary of labels, over as many connections as the worker has by default.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import aioboto3
import aiohttp
import asyncpg
import boto3
from aiobotocore.config import AioConfig
from botocore.config import Config
from msgspec import Struct, json

from worker.aws.rekognition import GET, LABELS_A_PAGE, Answer, page_of

READERS = 32  # as many as the worker has
THREADS = 16
CONNECTIONS = 8  # the worker's default pool_size
COLUMNS = ("job_id", "confidence", "timestamp_ms", "label_id", "start_ms", "end_ms", "content_types")
INSERT = f"insert into detection ({', '.join(COLUMNS)}) values ($1, $2, $3, $4, $5, $6, $7)"

LabelIds = dict[tuple[str, str, int | None], int]
Rows = list[tuple[Any, ...]]
Get = Callable[[int, str, str | None], Awaitable[tuple[Rows, str | None]]]
Write = Callable[[Rows], Awaitable[object]]


class Task(Struct, frozen=True):
    """What to read, from where, and where to put it."""

    service_url: str
    region: str
    access_key_id: str
    database_url: str
    jobs: list[tuple[int, str]]  # (number, JobId)


async def boto3_in_threads(task: Task, label_ids: LabelIds, write: Write) -> None:
    """boto3 as it comes, one client for 16 threads that each read a job after the other; rows go to the main loop."""
    client = boto3.client("rekognition", config=Config(max_pool_connections=THREADS), **_connection(task))
    loop = asyncio.get_running_loop()

    def read(job: tuple[int, str]) -> None:
        number, job_id = job
        token: str | None = ""
        while token is not None:
            response = client.get_content_moderation(**_request(job_id, token))
            rows = list(_rows_of_response(number, response, label_ids))
            asyncio.run_coroutine_threadsafe(write(rows), loop).result()
            token = response.get("NextToken")

    with ThreadPoolExecutor(THREADS) as threads:
        await asyncio.gather(*(loop.run_in_executor(threads, read, job) for job in task.jobs))


async def aioboto3_as_it_comes(task: Task, label_ids: LabelIds, write: Write) -> None:
    """aioboto3 with botocore's own parser."""
    async with _rekognition(task) as client:

        async def get(number: int, job_id: str, token: str | None) -> tuple[Rows, str | None]:
            response = await client.get_content_moderation(**_request(job_id, token))
            return list(_rows_of_response(number, response, label_ids)), response.get("NextToken")

        await _read_all(task, get, write)


async def straight_line(task: Task, label_ids: LabelIds, write: Write) -> None:
    """aioboto3 with the worker's page decoder, and nothing else of it."""
    async with _rekognition(task) as client:
        client.meta.events.register(f"before-parse.rekognition.{GET}", _decode_page)

        async def get(number: int, job_id: str, token: str | None) -> tuple[Rows, str | None]:
            answer = (await client.get_content_moderation(**_request(job_id, token)))["answer"]
            return list(_rows_of_answer(number, answer, label_ids)), answer.next_token

        await _read_all(task, get, write)


async def bare_http(task: Task, label_ids: LabelIds, write: Write) -> None:
    """The same over aiohttp alone: no SDK, and a signature that was never computed."""
    headers = {
        "X-Amz-Target": f"RekognitionService.{GET}",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"Credential={task.access_key_id}/20260101/{task.region}/rekognition/aws4_request",
    }
    decode = json.Decoder(Answer).decode
    async with aiohttp.ClientSession(headers=headers) as session:

        async def get(number: int, job_id: str, token: str | None) -> tuple[Rows, str | None]:
            async with session.post(task.service_url, data=json.encode(_request(job_id, token))) as response:
                answer = decode(await response.read())
            return list(_rows_of_answer(number, answer, label_ids)), answer.next_token

        await _read_all(task, get, write)


def executemany(pool: asyncpg.Pool) -> Write:
    """One INSERT for each label, sent together; one commit a page."""
    return lambda rows: pool.executemany(INSERT, rows)


def copy(pool: asyncpg.Pool) -> Write:
    """One COPY and one commit a page."""
    return lambda rows: pool.copy_records_to_table("detection", records=rows, columns=COLUMNS)


CONTENDERS: dict[str, tuple[Callable[..., Awaitable[None]], Callable[[asyncpg.Pool], Write]]] = {
    "boto3_executemany": (boto3_in_threads, executemany),
    "boto3_copy": (boto3_in_threads, copy),
    "aioboto3_executemany": (aioboto3_as_it_comes, executemany),
    "straight_line": (straight_line, copy),
    "bare_http": (bare_http, copy),
}


async def _read_all(task: Task, get: Get, write: Write) -> None:
    waiting = iter(task.jobs)

    async def read_jobs() -> None:
        for number, job_id in waiting:
            token: str | None = ""
            while token is not None:
                rows, token = await get(number, job_id, token)
                await write(rows)

    async with asyncio.TaskGroup() as readers:
        for _ in range(READERS):
            readers.create_task(read_jobs())


def _request(job_id: str, token: str | None) -> dict[str, Any]:
    request = {"JobId": job_id, "MaxResults": LABELS_A_PAGE, "SortBy": "TIMESTAMP", "AggregateBy": "TIMESTAMPS"}
    return request | {"NextToken": token} if token else request


def _decode_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Event handler `before-parse`: takes the body from botocore's own parser."""
    customized_response_dict["answer"] = page_of(response_dict["body"])
    response_dict["body"] = b"{}"


def _rows_of_response(number: int, response: dict[str, Any], label_ids: LabelIds) -> Iterator[tuple[Any, ...]]:
    for entry in response["ModerationLabels"]:
        label = entry["ModerationLabel"]
        label_id = label_ids[label["Name"], label["ParentName"], label["TaxonomyLevel"]]
        kinds = json.encode(entry["ContentTypes"]).decode() if entry["ContentTypes"] else None
        yield number, label["Confidence"], entry["Timestamp"], label_id, None, None, kinds


def _rows_of_answer(number: int, answer: Answer, label_ids: LabelIds) -> Iterator[tuple[Any, ...]]:
    for entry in answer.moderation_labels:
        label = entry.label
        label_id = label_ids[label.name, label.parent_name, label.taxonomy_level]
        kinds = json.encode(entry.content_types).decode() if entry.content_types else None
        yield number, label.confidence, entry.timestamp_ms, label_id, None, None, kinds


def _connection(task: Task) -> dict[str, str]:
    return {
        "region_name": task.region,
        "endpoint_url": task.service_url,
        "aws_access_key_id": task.access_key_id,
        "aws_secret_access_key": "local",
    }


@asynccontextmanager
async def _rekognition(task: Task) -> AsyncIterator[Any]:
    config = AioConfig(max_pool_connections=READERS)
    async with aioboto3.Session().client("rekognition", config=config, **_connection(task)) as client:
        yield client


async def main() -> None:
    """Run one contender."""
    read, write = CONTENDERS[sys.argv[1]]
    task = json.decode(sys.stdin.buffer.read(), type=Task)
    async with asyncpg.create_pool(task.database_url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        known = await pool.fetch("select id, name, parent_name, taxonomy_level from label")
        label_ids = {(row["name"], row["parent_name"], row["taxonomy_level"]): row["id"] for row in known}
        await read(task, label_ids, write(pool))


if __name__ == "__main__":
    asyncio.run(main())

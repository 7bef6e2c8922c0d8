"""Malformed requests by the hundred thousand at a service of its own.

`python -m tests.local.fuzz [--requests 100000] [--seed 1]` prints one JSON object; exit code 1 where the service ended,
answered with a 500 that nobody asked for, spoke broken HTTP, let out what it must not, or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from tests.local.answers import Answer, MalformedAnswerError, read_answer
from tests.local.malformed import Case, Malformed, World, authorization, good_calls
from worker.config import Lane
from worker.local.accounts import account_of, local_lane

ROOT = Path(__file__).parents[2]
LANE, REGION = "main", "us-east-1"
SECRET = b"lies outside the published folder"
CONFIG = """
[database]
data_dir = {data_dir}

[lanes.main]
region = "us-east-1"
endpoint_url = "local"

[local]
videos = 300
job_seconds = 0
job_seconds_per_video_second = 0
quota_burst = 1000
check_answers = true

[local.quotas]
start_per_second = 10000
get_per_second = 10000
concurrent_jobs = 1000000
"""
CONNECTIONS = 12
ROUND = 2_000  # requests, then some fault plans alone: an accepted one would change the answers to others
PLANS_IN_A_ROUND = 40
PATIENCE_SECONDS = 10.0
PATIENCE_WITH_BROKEN_SECONDS = 0.01
MOST_GROWTH_MB = 96.0  # the views that may be kept are 64 MB of it
MOST_PROBLEMS = 20
LONGEST_QUOTE = 5000
KB_PER_MB = 1024


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, and the request before it."""

    kind: str
    what: str
    request: str
    earlier: str  # the request before it on the same connection


class Report(msgspec.Struct, frozen=True):
    """What a run did and found; `problems` are the first of them."""

    seed: int
    requests: int
    seconds: float
    requests_per_second: float
    kinds: dict[str, int]
    statuses: dict[str, int]
    grown_mb: float
    problems: list[Problem]


class Connection:
    """A connection, and the case that was sent last on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.earlier: Case | None = None


class Server:
    """A running service with a published folder, beside which lies a file that it must not show."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.log = folder.parent / "service.log"
        self._address = urlsplit(url)
        self.lane = local_lane(LANE, Lane(region=REGION, endpoint_url="local"), url)
        self.signed = authorization(account_of(LANE), REGION)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port, limit=2**20)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def ask(self, method: str, path: str, body: object = None, target: str = "") -> Answer:
        """A good request on a connection of its own."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: s\r\nAuthorization: {self.signed}\r\nContent-Length: {len(content)}\r\n"
        )
        async with self.connected() as connection, asyncio.timeout(PATIENCE_SECONDS):
            connection.writer.write(
                head.encode() + (f"X-Amz-Target: {target}\r\n" if target else "").encode() + b"\r\n" + content
            )
            return await read_answer(connection.reader, method)

    async def call(self, target: str, request: dict[str, Any]) -> dict[str, Any]:
        """What an operation answers to a good request."""
        answer = await self.ask("POST", "/", request, target)
        assert answer.status == 200, (target, answer)
        return json.loads(answer.body or b"")

    def memory_mb(self) -> float:
        """Resident; 0 once the process has ended."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int((status.partition("VmRSS:")[2].split() or ["0"])[0]) / KB_PER_MB


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Server]:
    """A service whose every file lies in the folder."""
    published = folder / "published"
    published.mkdir()
    (published / "inside.mp4").write_bytes(b"inside" * 1000)
    (folder / "outside.txt").write_bytes(SECRET)
    (published / "link.txt").symlink_to(folder / "outside.txt")
    (published / "link").symlink_to(folder)
    config, data_dir = folder / "config.toml", folder / "data"
    config.write_text(CONFIG.format(data_dir=json.dumps(str(data_dir))))
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MODWORKER_"))}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "serve", "--config", str(config)],
            cwd=ROOT,
            env=outside,
            stdout=log,
            stderr=log,
        )
    try:
        announcement = data_dir / "local-service.json"
        async with asyncio.timeout(30):
            while not announcement.exists():
                assert process.poll() is None, (folder / "service.log").read_text()
                await asyncio.sleep(0.02)
        yield Server(json.loads(announcement.read_text())["url"], process, published)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


class Fuzzing:
    """One run against a server, and what it has found so far."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.problems: list[Problem] = []

    async def send_all(self, cases: Iterator[Case], connections: int) -> None:
        """Send the cases on so many connections at once."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(self._send_in_turn(cases))

    async def _send_in_turn(self, cases: Iterator[Case]) -> None:
        """Each on the connection of the one before, for as long as that lasts."""
        for first in cases:
            try:
                async with self._server.connected() as connection:
                    case: Case | None = first
                    while case is not None and await self._outlasts(case, connection):
                        connection.earlier, case = case, next(cases, None)
            except ConnectionRefusedError:
                self._note(first, "nobody listens any more")
                return

    async def _outlasts(self, case: Case, connection: Connection) -> bool:
        """Send a case and judge what comes; whether the connection is still good."""
        self.kinds[case.kind] += 1
        try:
            connection.writer.write(case.payload)
            if not case.methods:
                await self._see_off(case, connection)
                return False
            async with asyncio.timeout(PATIENCE_SECONDS):
                for method in case.methods:
                    answer = await read_answer(connection.reader, method)
                    self._judge(case, answer)
                    if answer.ends_connection:
                        return False
        except MalformedAnswerError as broken:
            self._note(case, f"broken HTTP: {broken}", connection.earlier)
        except (EOFError, OSError):
            self._note(case, "no answer: the connection ended", connection.earlier)
        except TimeoutError:
            self._note(case, f"no answer within {PATIENCE_SECONDS} s", connection.earlier)
        else:
            return True
        return False

    async def _see_off(self, case: Case, connection: Connection) -> None:
        """Give a broken request a moment to be answered, then leave; the service must leave too."""
        with suppress(TimeoutError, EOFError, OSError):
            async with asyncio.timeout(PATIENCE_WITH_BROKEN_SECONDS):
                method = case.payload.split(b" ", 1)[0].decode("latin-1")
                self._judge(case, await read_answer(connection.reader, method))
        if case.resets:
            connection.writer.transport.abort()
            return
        with suppress(OSError):
            connection.writer.write_eof()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await connection.reader.read(-1)

    def _judge(self, case: Case, answer: Answer) -> None:
        body = answer.body or b""
        self.statuses[str(answer.status)] += 1
        if answer.status >= 500 and not _is_not_implemented(answer):
            self._note(case, f"status {answer.status}: {body[:200]!r}")
        if b"Traceback (most recent" in body or b'File "/' in body:
            self._note(case, f"a stack trace: {body[:200]!r}")
        if SECRET in body:
            self._note(case, "a file outside the published folder")

    def _note(self, case: Case, what: str, earlier: Case | None = None) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            before = "" if earlier is None else repr(earlier.payload[:LONGEST_QUOTE])
            self.problems.append(Problem(case.kind, what, repr(case.payload[:LONGEST_QUOTE]), before))

    def note(self, what: str) -> None:
        """Something that no single request has done."""
        self.problems.append(Problem("service", what, "", ""))

    async def try_plans(self, plans: Iterator[Case]) -> None:
        """Put fault plans in force, and end each at once."""
        end = Case("end of faults", b"DELETE /_faults HTTP/1.1\r\nHost: s\r\n\r\n", ("DELETE",))
        for plan in plans:
            await self.send_all(iter([plan, end]), 1)


def _is_not_implemented(answer: Answer) -> bool:
    """S3's answer to operations that are not here, which says nothing to HEAD."""
    return answer.status == 501 and (not answer.body or b"<Code>NotImplemented</Code>" in answer.body)


async def fuzz(requests: int, seed: int, folder: Path) -> Report:
    """Send so many requests to a service of its own and see whether it holds."""
    async with served(folder) as server:
        world = await prepared(server)
        fuzzing, malformed = Fuzzing(server), Malformed(seed, world)
        health = (await server.ask("GET", "/healthz")).body
        cases, plans = malformed.cases(), malformed.plans()
        await fuzzing.send_all(islice(cases, warming_up := min(ROUND, requests // 4)), CONNECTIONS)
        before_mb, grown_mb, began_at = server.memory_mb(), 0.0, time.monotonic()
        while (sent := fuzzing.kinds.total()) < requests and server.process.poll() is None:
            await fuzzing.send_all(islice(cases, min(ROUND, requests - sent)), CONNECTIONS)
            await fuzzing.try_plans(islice(plans, PLANS_IN_A_ROUND))
        seconds = time.monotonic() - began_at
        if server.process.poll() is None:
            grown_mb = round(server.memory_mb() - before_mb, 1)
            await look_over(server, world, fuzzing, health)
        else:
            fuzzing.note(f"it ended with {server.process.returncode}")
    if grown_mb > MOST_GROWTH_MB:
        fuzzing.note(f"memory has grown by {grown_mb} MB")
    for line in logged_errors(server.log):
        fuzzing.note(line)
    return Report(
        seed=seed,
        requests=fuzzing.kinds.total(),
        seconds=round(seconds, 2),
        requests_per_second=round((fuzzing.kinds.total() - warming_up) / seconds),
        kinds=dict(fuzzing.kinds.most_common()),
        statuses=dict(sorted(fuzzing.statuses.items())),
        grown_mb=grown_mb,
        problems=fuzzing.problems,
    )


async def prepared(server: Server) -> World:
    """Jobs, messages and a folder for requests to name; every good request is accepted once."""
    listing = (await server.ask("GET", "/synthetic-archive?list-type=2&max-keys=40")).body or b""
    keys = tuple(part.partition(b"</Key>")[0].decode() for part in listing.split(b"<Key>")[1:])
    keys = tuple(key for key in keys if not set(key) & set("&<>"))
    published = (await server.ask("PUT", "/_folders", {"path": str(server.folder)})).body or b""
    job_ids = [await started(server, key) for key in keys[:20]]
    tokens = {job_id: (await ended(server, job_id, MaxResults=1)).get("NextToken") for job_id in job_ids}
    job_ids.sort(key=lambda job_id: tokens[job_id] is None)
    queue = {"QueueUrl": server.lane.queue_url}
    received = await server.call("AmazonSQS.ReceiveMessage", queue | {"VisibilityTimeout": 3_600})
    head = await server.ask("HEAD", f"/synthetic-archive/{quote(keys[0])}")
    world = World(
        account=account_of(LANE),
        region=REGION,
        queue=f"{account_of(LANE)}/{LANE}",
        queue_url=str(server.lane.queue_url),
        topic_arn=str(server.lane.sns_topic_arn),
        role_arn=str(server.lane.publish_role_arn),
        job_ids=tuple(job_ids),
        next_token=tokens[job_ids[0]],
        receipt_handle=received["Messages"][0]["ReceiptHandle"],
        keys=keys,
        version_id=head.headers["x-amz-version-id"],
        folder=str(server.folder),
        folder_bucket=json.loads(published)["bucket"],
    )
    for target, request in good_calls(world).items():
        if target not in {"AmazonSQS.DeleteQueue", "AmazonSQS.PurgeQueue"}:
            await server.call(target, request)
    return world


async def started(server: Server, key: str) -> str:
    """The JobId of a new job."""
    request = {
        "Video": {"S3Object": {"Bucket": "synthetic-archive", "Name": key}},
        "NotificationChannel": {"SNSTopicArn": server.lane.sns_topic_arn, "RoleArn": server.lane.publish_role_arn},
    }
    return str((await server.call("RekognitionService.StartContentModeration", request))["JobId"])


async def ended(server: Server, job_id: str, **how: Any) -> dict[str, Any]:
    """A page of the job once it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await server.call("RekognitionService.GetContentModeration", {"JobId": job_id} | how)
            if page["JobStatus"] != "IN_PROGRESS":
                return page
            await asyncio.sleep(0.01)


async def look_over(server: Server, world: World, fuzzing: Fuzzing, health: bytes | None) -> None:
    """Note what a service that still runs has become."""
    if (await server.ask("GET", "/healthz")).body != health:
        fuzzing.note("it is another process")
    await whole_job(server, world)


async def whole_job(server: Server, world: World) -> None:
    """A job from its Start to its last page, as if nothing had been."""
    job_id = await started(server, world.keys[1])
    whole = await ended(server, job_id)
    labels, page = [], await ended(server, job_id, MaxResults=100)
    while labels.extend(page["ModerationLabels"]) or "NextToken" in page:
        page = await ended(server, job_id, MaxResults=100, NextToken=page["NextToken"])
    assert labels[:1000] == whole["ModerationLabels"]
    assert page["JobStatus"] in {"SUCCEEDED", "FAILED"}


def logged_errors(log: Path) -> list[str]:
    """Lines that tell of calls that broke the service, not the client."""
    lines = log.read_text(errors="replace").splitlines()
    return [line[:LONGEST_QUOTE] for line in lines if "request_failed" in line or "database_un" in line][:MOST_PROBLEMS]


def main() -> None:
    """Fuzz, and print the result."""
    parser = argparse.ArgumentParser(description="Malformed requests at a local service.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        report = asyncio.run(fuzz(arguments.requests, arguments.seed, Path(folder)))
    print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    sys.exit(bool(report.problems))


if __name__ == "__main__":
    main()

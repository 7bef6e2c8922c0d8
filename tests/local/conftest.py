"""The local moderation service as a process of its own, and clients that check every answer against its shape."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator

from worker.config import Lane
from worker.local.accounts import access_key_of, account_of, local_lane

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
PROGRAM = """
import json, signal, sys, anyio
from worker.config import Settings
from worker.errors import UsageError
from worker.local.service import serve

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
settings = Settings(**json.loads(sys.argv[1]))
try:
    anyio.run(lambda: serve(settings, announce=lambda url: print(url, flush=True), settle=lambda *_: None))
except UsageError as error:
    sys.exit(f"usage: {error}")
"""
START_DEADLINE_SECONDS = 30
AT_ONCE: dict[str, Any] = {"job_seconds": 0, "job_seconds_per_video_second": 0}


class Service:
    """A running service, found by its URL; `kill` ends it as a power cut would, `start` brings it back."""

    def __init__(self, data_dir: Path, **sections: Any) -> None:
        self.data_dir = data_dir
        local = {"check_answers": True} | sections.get("local", {})
        self.settings = {"database": {"data_dir": str(data_dir)}, **sections, "local": local}
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Service:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "stderr.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM, json.dumps(self.settings)],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        ready, _, _ = select.select([self._process.stdout], [], [], START_DEADLINE_SECONDS)
        self.url = self._process.stdout.readline().strip() if ready else ""
        if not self.url:
            self.kill()
        assert self.url, (self.data_dir / "stderr.log").read_text()
        return self

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGINT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            return process.wait(timeout=20)
        finally:
            process.stdout.close()

    def client(self, service: str, lane: str = "main", region: str = REGION, **config: Any) -> Any:
        """A boto3 client of the lane's account; what it receives is checked against the service model."""
        client = boto3.Session().client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=access_key_of(account_of(lane)),
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30, **config),
        )
        client.meta.events.register("before-parse", _validate)
        return client

    def lane(self, name: str = "main", region: str = REGION) -> Lane:
        return local_lane(name, Lane(region=region, endpoint_url="local"), self.url)

    def channel(self, name: str = "main") -> dict[str, str]:
        lane = self.lane(name)
        return {"SNSTopicArn": lane.sns_topic_arn, "RoleArn": lane.publish_role_arn}

    def get_json(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def publish(self, folder: Path) -> str:
        body = json.dumps({"path": str(folder)}).encode()
        request = urllib.request.Request(self.url + "/_folders", data=body, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["bucket"]


def _validate(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Every member of a JSON answer is one that the model knows, and of its type."""
    if response_dict["status_code"] != 200 or operation_model.metadata["protocol"] != "json":
        return
    try:
        answer = json.loads(response_dict["body"])
    except json.JSONDecodeError:
        return  # a spoiled answer: botocore says what it is
    if operation_model.output_shape is None:
        assert answer == {}
        return
    report = ParamValidator().validate(answer, operation_model.output_shape)
    assert not report.has_errors(), report.generate_report()


@pytest.fixture(scope="session")
def lanes() -> dict[str, Any]:
    """Generous quotas for all lanes but those named for being tight."""
    wide = {"region": REGION, "endpoint_url": "local", "concurrent_jobs": 10_000}
    wide |= {"start_per_second": 5_000, "get_per_second": 5_000}
    names = ("main", "tokens", "queue", "failures", "ledger", "unmade")
    return {
        **dict.fromkeys(names, wide),
        "slow": wide | {"start_per_second": 5, "get_per_second": 5},
        "small": wide | {"concurrent_jobs": 3},
    }


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, lanes: dict[str, Any]) -> Iterator[Service]:
    """One service whose jobs end at once; tests use lanes, and so accounts, of their own."""
    data_dir = tmp_path_factory.mktemp("service")
    running = Service(data_dir, lanes=lanes, local={"videos": 2_345, **AT_ONCE, "quota_burst": 2}).start()
    yield running
    running.stop()


@pytest.fixture
def new_service(tmp_path: Path, lanes: dict[str, Any]) -> Iterator[Callable[..., Service]]:
    """Makes services of the test's own."""
    made: list[Service] = []

    def make(**local: Any) -> Service:
        made.append(Service(tmp_path / f"service-{len(made)}", lanes=lanes, local={"quota_burst": 1000} | local))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def archive_keys(service: Service) -> list[str]:
    """All keys of the made-up archive."""
    pages = service.client("s3").get_paginator("list_objects_v2").paginate(Bucket="synthetic-archive")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def until(condition: Callable[[], Any], deadline_seconds: float = 20) -> Any:
    """Ask again and again until the answer is true."""
    ends_at = time.monotonic() + deadline_seconds
    while not (answer := condition()):
        assert time.monotonic() < ends_at, "the condition did not come true in time"
        time.sleep(0.02)
    return answer


def start(client: Any, key: str, **more: Any) -> str:
    """Start a job of an object of the archive."""
    video = {"S3Object": {"Bucket": "synthetic-archive", "Name": key}}
    return client.start_content_moderation(Video=video, **more)["JobId"]


def finished(client: Any, job_id: str, **how: Any) -> dict[str, Any]:
    """The first page of the job once it has ended."""

    def answer() -> dict[str, Any] | None:
        page = client.get_content_moderation(JobId=job_id, **how)
        return None if page["JobStatus"] == "IN_PROGRESS" else page

    return until(answer)


def pages(client: Any, job_id: str, **how: Any) -> list[dict[str, Any]]:
    """All pages of an ended job."""
    read = [finished(client, job_id, **how)]
    while token := read[-1].get("NextToken"):
        read.append(client.get_content_moderation(JobId=job_id, NextToken=token, **how))
    return read


def received(client: Any, queue_url: str, **how: Any) -> list[dict[str, Any]]:
    """Messages of one receive."""
    how = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 5} | how
    return client.receive_message(QueueUrl=queue_url, **how).get("Messages", [])


def notice(message: dict[str, Any]) -> dict[str, Any]:
    """The notice within an SNS envelope."""
    envelope = msgspec.json.decode(message["Body"])
    assert envelope["Type"] == "Notification"
    return msgspec.json.decode(envelope["Message"])

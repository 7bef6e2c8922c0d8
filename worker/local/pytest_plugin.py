"""A pytest plugin for people who test their own Rekognition Video code: the local service as the fixture
`moderation_service`.

Installing modworker makes pytest load it. Nothing of it runs until a test asks for the fixture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_ANNOUNCEMENT = "local-service.json"
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 60.0
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
_PATHS = {"faults"}  # settings that name a file
_DEFAULTS = {
    "job_seconds": 0,
    "job_seconds_per_video_second": 0,
    "quota_burst": 1000,
    "quotas": {"start_per_second": 1000, "get_per_second": 1000, "concurrent_jobs": 1000},
}
_ACCESS_KEY_ID = "LOCAL123456789012"  # of the account 123456789012


class ModerationService:
    """The running service. Every call is signed as one account's in `region`; any secret will do."""

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which boto3, the `aws` program and other SDKs find the service instead of AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "NO_PROXY": "127.0.0.1",
        }

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client of `rekognition`, `sqs`, `s3` or `sts`; `options` are those of `boto3.client`."""
        import boto3  # noqa: PLC0415 (a test without the fixture need not load it)
        from botocore.config import Config  # noqa: PLC0415 (the same)

        mine = {
            "endpoint_url": self.url,
            "region_name": self.region,
            "aws_access_key_id": _ACCESS_KEY_ID,
            "aws_secret_access_key": "any",
            "config": Config(proxies={}),
        }
        return boto3.client(service, **{**mine, **options})

    def channel(self, name: str) -> tuple[str, dict[str, str]]:
        """Make a queue; gives its URL, and the NotificationChannel of a topic that it is subscribed to."""
        sqs = self.client("sqs")
        queue_url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
        account = queue_url.split("/")[-2]
        return queue_url, {
            "SNSTopicArn": f"arn:aws:sns:{self.region}:{account}:{name}",
            "RoleArn": f"arn:aws:iam::{account}:role/{name}",
        }

    def publish(self, folder: str | Path) -> str:
        """Serve a folder of files as a bucket; gives the bucket's name. ValueError: there is no such folder."""
        answer = self._ask("PUT", "/_folders", {"path": str(Path(folder).resolve())})
        return str(answer["bucket"])

    @contextmanager
    def faults(self, **plan: Any) -> Iterator[None]:
        """Put a fault plan in force (its tables as keywords: `calls=[…], notices=[…]`) until the block ends.

        Raises:
            ValueError: the plan says what is no fault.

        """
        self._ask("PUT", "/_faults", plan)
        try:
            yield
        finally:
            self._ask("DELETE", "/_faults")

    def ledger(self) -> dict[str, Any]:
        """Every paid job, and every call with its outcome, since the service was started."""
        ledger: dict[str, Any] = self._ask("GET", "/_ledger")
        return ledger

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, data=body, method=method)  # noqa: S310 (on loopback)
        try:
            with _DIRECTLY.open(request, timeout=_ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["Message"]) from None


@pytest.fixture(scope="session")
def moderation_service_settings() -> dict[str, Any]:
    """For a project to override: settings of `[local]` in place of jobs that end at once and quotas out of the way.

    Paths in them are relative to the folder that pytest was started in.
    """
    return {}


@pytest.fixture(scope="session")
def moderation_service(
    moderation_service_settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModerationService]:
    """The local moderation service, in a process of its own, for the whole session."""
    folder = tmp_path_factory.mktemp("moderation-service")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "serve"],
            cwd=folder,
            env=_environment(folder, {**_DEFAULTS, **moderation_service_settings}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield ModerationService(_url_of(process, folder), "us-east-1")
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _environment(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of this process, without settings of modworker that are meant for something else."""
    outer = {name: value for name, value in os.environ.items() if not name.upper().startswith("MODWORKER_")}
    return {**outer, "MODWORKER_DATABASE__DATA_DIR": str(folder), **_variables("MODWORKER_LOCAL", settings)}


def _variables(prefix: str, settings: Mapping[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}__{key.upper()}"
        if isinstance(value, Mapping):
            variables |= _variables(name, value)
        else:
            variables[name] = str(Path(value).absolute() if key in _PATHS else value)
    return variables


def _url_of(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Where the service listens, once it does."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return str(json.loads((folder / _ANNOUNCEMENT).read_bytes())["url"])
        except FileNotFoundError:
            time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the local moderation service did not start: {(folder / 'log').read_text()}")

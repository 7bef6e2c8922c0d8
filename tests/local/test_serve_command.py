"""`modworker serve` as people run it: with or without a config file, and what it says at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.local.conftest import ROOT

Serve = Callable[..., "Served"]


class Served:
    """A `modworker serve` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker", "serve", *arguments],
            cwd=folder,
            env=outer | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        return self._process.stdout.readline().strip()

    def ended(self, how: signal.Signals | None = None) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        if how is not None:
            self._process.send_signal(how)
        out, err = self._process.communicate(timeout=30)
        return self._process.returncode, out, err

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `modworker serve` in the test's folder."""
    started: list[Served] = []

    def start(*arguments: str, **environment: str) -> Served:
        started.append(Served(tmp_path, *arguments, **environment))
        return started[-1]

    yield start
    for served in started:
        served.kill()


def client(url: str, service: str) -> Any:
    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def rows(table: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in table.splitlines()]


def test_it_serves_without_a_config_file_and_settles_at_its_end(serve: Serve) -> None:
    """On an empty folder it answers at once; a signal ends it with 0, and the ledger is printed as tables."""
    served = serve("--speed", "3600")
    rekognition = client(served.url(), "rekognition")
    video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": "one-page.mp4"}}
    for _ in range(2):
        job_id = rekognition.start_content_moderation(Video=video, ClientRequestToken="once")["JobId"]
    deadline = time.monotonic() + 20
    while rekognition.get_content_moderation(JobId=job_id)["JobStatus"] == "IN_PROGRESS":
        assert time.monotonic() < deadline
    code, out, _ = served.ended(signal.SIGTERM)

    assert code == 0
    assert ["paid", "1", "1"] in rows(out)
    assert ["StartContentModeration", "ok", "2", "2"] in rows(out)
    assert [*["starts", "repeated", "under", "their", "token,", "for", "nothing"], "1", "1"] in rows(out)
    [quota] = [row for row in rows(out) if "StartContentModeration" in row and "second" in row]
    assert quota[:6] == ["123456789012", "us-east-1", "StartContentModeration", "5", "a", "second"]


def test_a_run_is_told_from_the_runs_before(serve: Serve) -> None:
    """A second run on the same folder counts what it did by itself, and beside it what was done in all."""
    for _ in range(2):
        served = serve()
        client(served.url(), "sts").get_caller_identity()
        _, out, _ = served.ended(signal.SIGTERM)
    assert ["GetCallerIdentity", "ok", "1", "2"] in rows(out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speed", "0"], "speed"),
        (["--speed", "fast"], "speed"),
        (["--faults", "missing.toml"], "missing.toml"),
        (["--faults", "broken.toml"], "fault plan broken.toml"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path: Path, serve: Serve, arguments: list[str], said: str) -> None:
    """A mistake ends it with 2 before it serves, and without a stack trace."""
    (tmp_path / "broken.toml").write_text('[[calls]]\nfault = "explode"\n')
    code, out, err = serve(*arguments).ended()
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_the_environment_configures_it(serve: Serve) -> None:
    """Variables count without a file too, and unknown ones are mistakes."""
    served = serve(MODWORKER_LOCAL__VIDEOS="3")
    listed = client(served.url(), "s3").list_objects_v2(Bucket="synthetic-archive")
    assert listed["KeyCount"] == 3
    code, _, err = serve(MODWORKER_LOCAL__VIDEO="3").ended()
    assert code == 2
    assert "MODWORKER_LOCAL__VIDEO" in err

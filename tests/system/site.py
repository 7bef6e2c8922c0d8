"""A place where real worker processes run: a config file, a database, a local service and its ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from tests.system.processes import Failpoints, WorkerProcess
from worker.config import Lane
from worker.local.accounts import access_key_of, account_of, local_lane

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 120
POLL_SECONDS = 0.02

TOP = ""  # the keys above all sections

Sections = dict[str, dict[str, Any]]


def toml(sections: Sections) -> str:
    """Sections by their dotted names as TOML; JSON writes strings, numbers, booleans and lists as TOML does."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]" if name else "", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def until(condition: Callable[[], Any], *, within_seconds: float = 30.0) -> Any:
    """Poll a condition until it is true, and return what it gave."""
    deadline = time.monotonic() + within_seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {within_seconds} s"
        time.sleep(POLL_SECONDS)
    return value


def jobs_faster(times: float) -> dict[str, float]:
    """Settings of the local service that let jobs take so many times less; its clock stays true."""
    return {"job_seconds": 5 / times, "job_seconds_per_video_second": 0.1 / times}


class Site:
    """Processes that were started here are ended here."""

    def __init__(self, folder: Path, database_url: str, data_dir: Path | None = None) -> None:
        self.folder = folder
        self.data_dir = data_dir or folder / "data"  # sites with the same one share a local service
        self.config_file = folder / "worker.toml"
        self.database_url = database_url
        self.sections: Sections = {
            TOP: {},
            "database": {"url": database_url, "data_dir": str(self.data_dir)},
            "worker": {"http_listen": "", "lease_seconds": 3, "shutdown_grace_seconds": 10},
            "moderation": {"first_due_seconds": 2},
            "lanes.main": self.local_lane("us-east-1"),
            "local": {"videos": 100, "quota_burst": 50, **jobs_faster(600)},
        }
        self._processes: list[WorkerProcess] = []

    @staticmethod
    def local_lane(region: str, **changes: Any) -> dict[str, Any]:
        """A lane on the local service, fast enough for tests."""
        quotas = {"start_per_second": 200, "get_per_second": 500, "concurrent_jobs": 50}
        return {"region": region, "endpoint_url": "local", **quotas, **changes}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                print(*process.communicate(), sep="\n")  # shown by a test that fails while waiting for it
            process.close()

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write the config file, with values added to its sections (`lanes__main` names `[lanes.main]`)."""
        for name, values in sections.items():
            self.sections.setdefault(name.replace("__", "."), {}).update(values)
        self.config_file.write_text(toml(self.sections))

    def start(
        self, *arguments: str, environment: dict[str, str] | None = None, failpoints: Failpoints | None = None
    ) -> WorkerProcess:
        """Start `modworker ARGUMENTS --config …` as a process of its own."""
        if not self.config_file.exists():
            self.configure()
        process = WorkerProcess(
            [*arguments, "--config", str(self.config_file)],
            folder=ROOT,
            environment=self._environment() | (environment or {}),
            armed=failpoints,
        )
        self._processes.append(process)
        return process

    def run(
        self, *arguments: str, seconds: float = RUN_SECONDS, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `modworker ARGUMENTS --config …` to its end."""
        return finished(self.start(*arguments, environment=environment), seconds=seconds)

    def service(self) -> WorkerProcess:
        """Keep the local service alive beyond the workers that use it, and wait until it listens."""
        process = self.start("serve")
        until(lambda: process.poll() is not None or self.service_url())
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        return process

    def service_url(self) -> str | None:
        """Where the local service listens, if it runs."""
        try:
            return str(json.loads((self.data_dir / "local-service.json").read_text())["url"])
        except FileNotFoundError:
            return None

    def ledger(self) -> dict[str, Any]:
        """What the local service was paid for, and every call with its outcome."""
        with urllib.request.urlopen(f"{self.service_url()}/_ledger", timeout=30) as response:
            document: dict[str, Any] = json.load(response)
        return document

    def put_faults(self, plan: dict[str, Any]) -> None:
        """Put another fault plan in force."""
        body = json.dumps(plan).encode()
        request = urllib.request.Request(f"{self.service_url()}/_faults", body, method="PUT")
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200

    def publish(self, folder: Path) -> str:
        """Have the local service serve a folder; the name of its bucket."""
        body = json.dumps({"path": str(folder)}).encode()
        request = urllib.request.Request(f"{self.service_url()}/_folders", body, method="PUT")
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(json.load(response)["bucket"])

    def client(self, service: str, lane: str = "main", region: str = "us-east-1") -> Any:
        """A plain boto3 client of the local service, in a lane's account."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.service_url(),
            aws_access_key_id=access_key_of(account_of(lane)),
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 10, "mode": "standard"}, s3={"addressing_style": "path"}),
        )

    @property
    def deployment(self) -> str:
        """Part of every job's identity."""
        return str(self.sections[TOP].get("deployment", "default"))

    def lanes(self) -> list[str]:
        """The names of the configured lanes."""
        return [name.removeprefix("lanes.") for name in self.sections if name.startswith("lanes.")]

    def lane(self, name: str = "main") -> Lane:
        """A lane as the local service serves it: with its made-up queue, topic and role."""
        return local_lane(name, Lane(**self.sections[f"lanes.{name}"]), self.service_url() or "")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MODWORKER_"))}
        return kept | {"MODWORKER_LOCAL__CHECK_ANSWERS": "true"}


def finished(process: WorkerProcess, *, seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
    """Wait for a process and take what it printed."""
    out, err = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill(process: WorkerProcess) -> None:
    """End a process as a power cut would."""
    process.send_signal(signal.SIGKILL)
    process.communicate()

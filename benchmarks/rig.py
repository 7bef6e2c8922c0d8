"""What the benchmarks run on: PostgreSQL as the product embeds it, a local service, worker processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from worker.config import Lane
from worker.local.accounts import access_key_of, account_of, local_lane
from worker.store.embedded import embedded_postgres
from worker.store.migrate import migrate

ROOT = Path(__file__).parents[1]
LANE = "main"
REGION = "us-east-1"
ACCESS_KEY_ID = access_key_of(account_of(LANE))
DEPLOYMENT = "default"
MIGRATED = "migrated"
POLL_SECONDS = 0.05
START_SECONDS = 120.0
RUN_SECONDS = 300.0
KB_PER_MB = 1024
PROFILE = "[{name}]\naws_access_key_id = {key}\naws_secret_access_key = local\n"
COMMIT_TIMES = {"track_commit_timestamp": "on"}  # the one setting that the product does not have

Sections = dict[str, dict[str, Any]]


class Rig:
    """A folder, a PostgreSQL server, and processes that end with it."""

    def __init__(self, folder: Path, server_url: str, lane: Mapping[str, Any], local: Mapping[str, Any]) -> None:
        self.server_url = server_url
        self.folder = folder
        self._lane = {"region": REGION, **lane}
        self._local = dict(local)
        self._processes: list[subprocess.Popen[str]] = []
        self._numbers = count()  # of config files
        self._profiles: dict[str, str] = {}  # name -> access key id
        self._credentials = folder / "credentials"

    def serve(self, *command: str, data_dir: Path | None = None, quotas: Mapping[str, Any] | None = None) -> str:
        """Start the local service as `python … CONFIG`, in a new folder unless one is given; returns its URL."""
        data_dir = data_dir or self.folder / f"service-{len(self._processes)}"
        sections = {
            "database": {"data_dir": str(data_dir)},
            f"lanes.{LANE}": {**self._lane, "endpoint_url": "local"},
            "local": self._local,
            "local.quotas": dict(quotas or {}),
        }
        process = self.start([*command, str(self._write(data_dir.name, sections))])
        address = data_dir / "local-service.json"
        until(lambda: address.exists() or process.poll() is not None, within_seconds=START_SECONDS)
        return str(json.loads(address.read_text())["url"])

    def lane(self, service_url: str, name: str = LANE) -> Lane:
        """A lane as the service at that URL serves it."""
        return local_lane(name, Lane(**self._lane), service_url)

    def worker(self, *arguments: str, config: Path) -> subprocess.Popen[str]:
        """Start `modworker ARGUMENTS --config CONFIG`."""
        return self.start(["-m", "worker", *arguments, "--config", str(config)])

    def config(
        self,
        database_url: str,
        service_url: str,
        lane: Mapping[str, Any] | None = None,
        lanes: Sequence[str] = (LANE,),
        **sections: dict[str, Any],
    ) -> Path:
        """Write a worker's config file; it reaches the service as it would reach AWS, each lane by its profile."""
        own: Sections = {
            "database": {"url": database_url, "data_dir": str(self.folder)},
            "worker": {"http_listen": ""},
        }
        for name in lanes:
            served = self.lane(service_url, name).model_dump(exclude_defaults=True)
            own[f"lanes.{name}"] = served | {"profile": name} | dict(lane or {})
        self._write_profiles(lanes)
        return self._write(f"config-{next(self._numbers)}", own | sections)

    def _write_profiles(self, lanes: Sequence[str]) -> None:
        """Profiles with the credentials of the made-up accounts of these lanes, and of those before."""
        self._profiles |= {name: access_key_of(account_of(name)) for name in lanes}
        self._credentials.write_text(
            "".join(PROFILE.format(name=name, key=key) for name, key in self._profiles.items())
        )

    def start(self, arguments: Sequence[str], given: str = "") -> subprocess.Popen[str]:
        """Start a Python process, its standard input `given`, with the credentials of the lane's made-up account."""
        with tempfile.TemporaryFile("w+", dir=self.folder) as stdin:
            stdin.write(given)
            stdin.seek(0)
            with self._log(len(self._processes)).open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=ROOT,
                    env=self._environment(),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        self._processes.append(process)
        return process

    def output(self, process: subprocess.Popen[str]) -> str:
        """What a process printed, once it has ended as asked."""
        printed, _ = process.communicate(timeout=RUN_SECONDS)
        if process.returncode:
            raise self._failure(process)
        return printed

    async def until_true(
        self,
        process: subprocess.Popen[str],
        connection: asyncpg.Connection,
        statement: str,
        *values: object,
        within_seconds: float = RUN_SECONDS,
    ) -> None:
        """Poll a statement until the process, which must not end before, has made it true."""
        async with asyncio.timeout(within_seconds):
            while not await connection.fetchval(statement, *values):
                await self._pause(process)

    async def until_logged(self, process: subprocess.Popen[str], event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the process, which must not end before, has logged an event so often; returns its records."""
        async with asyncio.timeout(RUN_SECONDS):
            while len(records := self.logged(process, event)) < times:
                await self._pause(process)
        return records

    def logged(self, process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
        """The records of an event in a process's log; its last line may not be whole yet."""
        lines = self._log(self._processes.index(process)).read_text().split("\n")[:-1]
        return [record for line in lines if event in line and (record := json.loads(line))["event"] == event]

    async def _pause(self, process: subprocess.Popen[str]) -> None:
        """Between two looks at what a process does.

        Raises:
            RuntimeError: if it has ended.

        """
        if process.poll() is not None:
            raise self._failure(process)
        await asyncio.sleep(POLL_SECONDS)

    def server_cpu_seconds(self) -> float:
        """The processor time of PostgreSQL so far: of its processes, and of those that have ended."""
        pid = int((self.folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_seconds(pid, with_ended_children=True) + sum(cpu_seconds(int(child)) for child in children)

    def pages_url(self, process: subprocess.Popen[str]) -> str:
        """Where a worker that has begun serves its pages, as its log tells."""
        lines = self._log(self._processes.index(process)).read_text().splitlines()
        return next(str(line["url"]) for line in map(json.loads, lines) if "metrics are served" in line["event"])

    def end(self) -> None:
        """End every process that still runs."""
        for process in self._processes:
            if process.returncode is None:
                stop(process)

    def database_url(self, name: str) -> str:
        """The URL of a database."""
        return urlsplit(self.server_url)._replace(path=f"/{name}").geturl()

    async def database(self, name: str, template: str = MIGRATED) -> str:
        """Make a database with the product's schema, or with whatever else the template holds; returns its URL."""
        await self.execute(f'create database "{name}" template "{template}" strategy file_copy', "checkpoint")
        return self.database_url(name)

    async def drop(self, name: str) -> None:
        """Remove a database."""
        await self.execute(f'drop database "{name}" with (force)')

    async def migrated(self, labels: Iterable[tuple[str, str, int]] = ()) -> None:
        """Make the template: the product's schema, and these labels (name, parent, level) in its dictionary."""
        await self.execute(f'create database "{MIGRATED}"')
        connection = await asyncpg.connect(self.database_url(MIGRATED))
        await migrate(connection, DEPLOYMENT)
        await connection.executemany(
            "insert into label (name, parent_name, taxonomy_level) values ($1, $2, $3)", list(labels)
        )
        await connection.close()

    async def execute(self, *statements: str) -> None:
        """Tell the server something that concerns all databases."""
        connection = await asyncpg.connect(self.server_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    def _environment(self) -> dict[str, str]:
        """Without settings from outside; the modules that one process has compiled serve the next."""
        own = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SHARED_CREDENTIALS_FILE": str(self._credentials),
            "AWS_CONFIG_FILE": str(self.folder / "no-config"),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }
        return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MODWORKER_"))} | own

    def _failure(self, process: subprocess.Popen[str]) -> RuntimeError:
        said = self._log(self._processes.index(process)).read_text()
        return RuntimeError(f"{process.args} ended with {process.returncode}: {said[-2000:]}")

    def _log(self, number: int) -> Path:
        return self.folder / f"process-{number}.log"

    def _write(self, name: str, sections: Sections) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(toml(sections))
        return path


@asynccontextmanager
async def open_rig(*, lane: Mapping[str, Any], local: Mapping[str, Any]) -> AsyncIterator[Rig]:
    """A rig in a folder of its own: `lane` and `local` are sections of the config file."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with embedded_postgres(folder, COMMIT_TIMES) as server_url:
            rig = Rig(folder, server_url, lane, local)
            try:
                yield rig
            finally:
                rig.end()


def toml(sections: Sections) -> str:
    """Sections by their dotted names; JSON writes strings, numbers and booleans as TOML does."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def stop(process: subprocess.Popen[str]) -> str:
    """End a process in its own way, and wait for it; returns what it has printed."""
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=RUN_SECONDS)
    return printed


def until(condition: Callable[[], object], *, within_seconds: float) -> None:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {within_seconds} s")
        time.sleep(POLL_SECONDS)


def ledger(service_url: str) -> dict[str, Any]:
    """A local service's sums."""
    with urllib.request.urlopen(f"{service_url}/_ledger?summary=1", timeout=30) as response:  # noqa: S310 (on loopback)
        summary: dict[str, Any] = json.load(response)
    return summary


async def machine(server_url: str) -> dict[str, Any]:
    """Where a result comes from."""
    connection = await asyncpg.connect(server_url)
    postgresql = await connection.fetchval("show server_version")
    await connection.close()
    return host() | {"postgresql": postgresql}


def host() -> dict[str, Any]:
    """Where a result comes from that needs no PostgreSQL."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process, and the part of it that it shares with no other, in MB."""
    rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {name.rstrip(":"): int(amount) for name, amount, _ in rows}
    unique = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"resident": round(kilobytes["Rss"] / KB_PER_MB, 2), "unique": round(unique / KB_PER_MB, 2)}


def peak_memory_mb(pid: int) -> float:
    """The highest resident memory that a process ever had, in MB; 0 for one that has ended."""
    rows = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return next((round(int(row[1]) / KB_PER_MB, 2) for row in rows if row[0] == "VmHWM:"), 0.0)


def watched(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Processor time and peak of resident memory of a process, at the last look before it ended."""
    cpu, peak_mb = 0.0, 0.0
    while process.poll() is None:
        cpu, peak_mb = max(cpu, cpu_seconds(process.pid)), max(peak_mb, peak_memory_mb(process.pid))
        time.sleep(POLL_SECONDS)
    return cpu, peak_mb


def cpu_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """The processor time of a process so far, all its threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = after_name[11 : 15 if with_ended_children else 13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def median(values: Iterable[float]) -> float:
    """The median, to three digits after the point."""
    return round(statistics.median(values), 3)

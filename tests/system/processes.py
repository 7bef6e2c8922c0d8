"""Worker processes forked from a parent that has the program loaded, which spares each the second of its imports.

They are processes of their own in every other respect: their own environment, streams, signals and exit code.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TextIO

from worker import failpoints
from worker.errors import AwsError, Verdict

_PRELOADED = ["worker.cli.work", "worker.cli.look", "worker.cli.steer", "worker.cli.service", "worker.local.service"]
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([*_PRELOADED, __name__])

Failpoints = Mapping[str, tuple[str, int]]
"""Place -> (what happens there, at which passing of it): "kill" or "lose", which loses the answer."""

LOST = "the answer is lost"


class WorkerProcess:
    """`modworker ARGUMENTS` in a process of its own, to be handled as a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: str | os.PathLike[str],
        environment: Mapping[str, str],
        armed: Failpoints | None = None,
    ) -> None:
        self.args = ["modworker", *arguments]
        out, out_of_child = _FORKING.Pipe(duplex=False)
        err, err_of_child = _FORKING.Pipe(duplex=False)
        self._process = _FORKING.Process(
            target=_work,
            args=(self.args, os.fspath(folder), dict(environment), out_of_child, err_of_child, dict(armed or {})),
        )
        self._process.start()
        for connection in (out_of_child, err_of_child):
            connection.close()
        self.stdout, self.stderr = _reader(out), _reader(err)

    @property
    def pid(self) -> int:
        """The id by which it is ended."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not within that many seconds.

        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it (and whoever inherited its streams) has printed, once it has ended."""
        texts: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda n=name, s=stream: texts.__setitem__(n, s.read()), daemon=True)
            for name, stream in (("out", self.stdout), ("err", self.stderr))
        ]
        for reader in readers:
            reader.start()
        deadline = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        self.close()
        return texts["out"], texts["err"]

    def close(self) -> None:
        """Read no more of what it prints."""
        self.stdout.close()
        self.stderr.close()


def _reader(connection: Connection) -> TextIO:
    descriptor = os.dup(connection.fileno())
    connection.close()
    return os.fdopen(descriptor, encoding="utf-8")


def _work(
    arguments: list[str], folder: str, environment: dict[str, str], out: Connection, err: Connection, armed: Failpoints
) -> None:
    """The life of the forked process."""
    for connection, descriptor in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = arguments
    for name, (action, passing) in armed.items():
        failpoints.arm(name, _at(passing, _kill if action == "kill" else _lose(name)))
    from worker.cli import main  # noqa: PLC0415 (the streams above must be there first)

    main()


def _at(passing: int, act: Any) -> failpoints.Action:
    """Act at the n-th passing of a place, and never again."""
    passed = 0

    def count() -> None:
        nonlocal passed
        passed += 1
        if passed == passing:
            act()

    return count


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _lose(name: str) -> failpoints.Action:
    """Raise what a lost connection does: an `AwsError` at a call, which is named as AWS names it, else an `OSError`."""

    def lose() -> None:
        sys.stderr.write(f"{LOST} at {name}\n")
        raise (
            AwsError(Verdict.RETRY, "ConnectionClosedError", LOST) if name[0].isupper() else ConnectionResetError(LOST)
        )

    return lose

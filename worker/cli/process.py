"""A worker in this process: its pages, its watch, and the signals that end it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import structlog
from anyio.abc import TaskStatus

from worker.app import Application
from worker.config import Changes, Settings, load
from worker.errors import UsageError
from worker.flow.signal import Signal
from worker.metrics import Metrics
from worker.process import WorkerProcess, pages

T = TypeVar("T")

logger = structlog.get_logger()


class Signals:
    """What signals do: they end the command, or while a worker works, the first one ends its taking only.

    SIGHUP is such a signal too, unless the command has a use for it.
    """

    def __init__(self, end: Callable[[], None], hangups: Signal | None) -> None:
        self._end = end
        self._stop: Callable[[], None] | None = None
        self.hangups = hangups

    @contextmanager
    def stopping(self, stop: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
        """The first signal calls `stop`, a second one `end`."""
        before = self._end
        self._stop, self._end = stop, end
        try:
            yield
        finally:
            self._stop, self._end = None, before

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Obey the signals from the moment of `task_status.started` on."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and self.hangups:
                    self.hangups.set()
                elif self._stop is None:
                    self._end()
                else:
                    stop, self._stop = self._stop, None
                    stop()


async def until_signal(command: Callable[[Signals], Awaitable[T]], hangups: Signal | None = None) -> T | None:
    """What the command gives, or None where a signal ended it; SIGHUP only sets `hangups`, if that is given."""
    async with anyio.create_task_group() as everything:
        signals = Signals(everything.cancel_scope.cancel, hangups)
        await everything.start(signals.watch)
        outcome = await command(signals)
        everything.cancel_scope.cancel()
        return outcome
    return None


async def work(
    application: Application,
    metrics: Metrics,
    watch: Callable[[WorkerProcess], Awaitable[None]],
    signals: Signals,
    lanes: Collection[str] | None = None,
) -> None:
    """Run a worker until the watch is over or a signal comes, and then as long as it takes to run dry."""
    worker = WorkerProcess(application, metrics, lanes)
    async with pages(application, worker, metrics), anyio.create_task_group() as everything:

        def stop() -> None:
            worker.stop.request()
            grace_seconds = application.settings.worker.shutdown_grace_seconds
            everything.cancel_scope.deadline = anyio.current_time() + grace_seconds

        def stop_by_signal() -> None:
            logger.info("stopping: what was begun is finished; a second signal ends it at once")
            stop()

        async def watch_and_stop() -> None:
            await watch(worker)
            stop()

        with signals.stopping(stop_by_signal, everything.cancel_scope.cancel):
            everything.start_soon(watch_and_stop)
            await worker.run()
            everything.cancel_scope.cancel()


async def heed_hangups(reconfigure: Callable[[Settings], Awaitable[Changes]], config: Path, signals: Signals) -> None:
    """Read the config file again at each SIGHUP; one that is wrong changes nothing."""
    while signals.hangups:
        await signals.hangups.wait()
        try:
            changes = await reconfigure(load(config).settings)
        except UsageError as error:
            reason = str(error)
            logger.error("config file refused: the settings stay as they are", reason=reason)  # noqa: TRY400 (no fault of ours)
        else:
            _tell(changes)


def _tell(changes: Changes) -> None:
    kinds = ("adjusted", "reopened", "added", "removed")
    logger.info("config file read again", **{kind: lanes for kind in kinds if (lanes := getattr(changes, kind))})
    if changes.later:
        logger.warning("some of it holds from the next start on", keys=changes.later)

"""`backfill`, `enqueue` and `run`: registering videos, and working on them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import structlog
from cyclopts import Parameter

from worker.admission import Request
from worker.app import Application, open_application
from worker.cli.parameters import (
    EVERYTHING,
    Budget,
    Choosing,
    ConfigFile,
    Name,
    NotRestored,
    Priority,
    Restored,
    Sources,
    word_on_the_past,
)
from worker.cli.process import Signals, heed_hangups, until_signal, work
from worker.cli.terminal import AS_ASKED, FINDING, STOPPED_EARLY, complain, err, out
from worker.config import Loaded, load
from worker.display.decisions import held_up
from worker.display.figures import counted
from worker.display.progress import counting, progress_shown
from worker.display.summary import discovered, summary
from worker.enqueue import count
from worker.enqueue import enqueue as enqueue_sources
from worker.errors import UsageError
from worker.flow.signal import Signal
from worker.flow.stop import Stop
from worker.metrics import Metrics
from worker.pipeline.discover import Discovered
from worker.pipeline.sources import default_name
from worker.process import WorkerProcess
from worker.restored import Word, refuse_old_past
from worker.store.registry import Progress
from worker.watch import Watch, nothing_left, until_final

LAST_LOOK_SECONDS = 2.0  # at the end: a database that is away does not keep a worker that was told to stop

Place = Callable[[Application, list[str] | None, bool, Signals], Awaitable[str | None]]
"""Works on these lanes, until nothing is left or a signal comes; gives the sentence that ended it early."""

logger = structlog.get_logger()


async def backfill(
    sources: Sources,
    /,
    *,
    config: ConfigFile,
    name: Name = None,
    priority: Priority = None,
    budget_usd: Budget = None,
    choosing: Choosing = EVERYTHING,
    not_restored: NotRestored = False,
    restored: Restored = False,
) -> int:
    """Exit code 0 if every video of the backfill is done or skipped, 1 if some are not, 3 if work is left."""
    request = Request(sources, name or default_name(sources), priority, budget_usd, choosing.filters())
    word = word_on_the_past(not_restored=not_restored, restored=restored)
    code = await until_signal(partial(_backfill, load(config), config, request, word))
    return _interrupted(request.name) if code is None else code


async def enqueue(
    sources: Sources,
    /,
    *,
    config: ConfigFile,
    name: Name = None,
    priority: Priority = None,
    budget_usd: Budget = None,
    choosing: Choosing = EVERYTHING,
    dry_run: Annotated[bool, Parameter(negative="", help="only count what would be registered")] = False,
) -> int:
    """Exit code 0 if every row of the sources names a video, 1 if some do not."""
    request = Request(sources, name or default_name(sources), priority, budget_usd, choosing.filters())
    code = await until_signal(partial(_enqueue, load(config), config, request, dry_run))
    return _interrupted(request.name) if code is None else code


async def run(
    *,
    config: ConfigFile,
    until_empty: Annotated[bool, Parameter(name="--until-empty", negative="", help="end when nothing is left")] = False,
    lanes: Annotated[str | None, Parameter(help="only these lanes, comma-separated")] = None,
    cluster: Annotated[str | None, Parameter(help='lanes on a Ray cluster: "auto", or HOST:PORT of its head')] = None,
    not_restored: NotRestored = False,
    restored: Restored = False,
) -> int:
    """Exit code 0 if told to stop or nothing is left, 3 if `--until-empty` ends because what is left cannot go on."""
    loaded = load(config)
    word = word_on_the_past(not_restored=not_restored, restored=restored)
    command = partial(
        _run, loaded, config, _place(config, cluster, loaded), _chosen_lanes(lanes, loaded), until_empty, word
    )
    code = await until_signal(command, hangups=Signal())
    return AS_ASKED if code is None else code


async def _backfill(loaded: Loaded, config: Path, request: Request, word: Word | None, signals: Signals) -> int:
    begun_at = time.monotonic()
    metrics = Metrics()
    seen: list[Watch] = []
    async with open_application(loaded, config) as application:
        await _look_back(application, word)
        found = await _register(application, request, is_dry_run=False)
        with progress_shown(err, logger.info) as shown:

            async def watch(worker: WorkerProcess) -> None:
                async for look in until_final(worker, application.registry, request.name):
                    seen[:] = [look]
                    shown(look.progress)

            await work(application, metrics, watch, signals)
        progress = seen[-1].progress if seen else None
        with anyio.move_on_after(LAST_LOOK_SECONDS):
            progress = await application.registry.progress(request.name)
    if progress is None:
        return _interrupted(request.name)
    seconds = time.monotonic() - begun_at
    out.print(summary(request.name, progress, metrics.calls(), seconds, config, example=found.example))
    return _how_it_ended(request.name, progress, seen[0].ending if seen else None, found)


def _how_it_ended(name: str, progress: Progress, ending: str | None, found: Discovered) -> int:
    if progress.left:
        reason = (
            ending or f"it was told to stop; the same command goes on with the {counted(progress.left, 'video')} left"
        )
        complain(f"backfill {name} stopped early: {reason}")
        return STOPPED_EARLY
    if progress.is_cancelled and progress.pending:
        complain(held_up(name, progress))
    return FINDING if progress.failed or progress.uncertain or progress.expired or found.bad_rows else AS_ASKED


def _interrupted(name: str) -> int:
    complain(f"backfill {name} stopped early: it was told to stop while it was registered; the same command goes on")
    return STOPPED_EARLY


async def _enqueue(loaded: Loaded, config: Path, request: Request, is_dry_run: bool, _: Signals) -> int:
    async with open_application(loaded, config) as application:
        found = await _register(application, request, is_dry_run=is_dry_run)
    return FINDING if found.bad_rows else AS_ASKED


def _place(config: Path, cluster: str | None, loaded: Loaded) -> Place:
    """Where lanes are to be worked on.

    Raises:
        UsageError: if they cannot be there.

    """
    if cluster is None:
        return partial(_run_here, config)
    from worker.cluster.head import refuse_unreachable  # noqa: PLC0415 (Ray is an extra)
    from worker.cluster.lanes import refuse_unshared  # noqa: PLC0415

    refuse_unshared(loaded.settings)
    refuse_unreachable(cluster)
    return partial(_run_on_cluster, config, cluster)


async def _run(
    loaded: Loaded,
    config: Path,
    place: Place,
    lanes: list[str] | None,
    is_until_empty: bool,
    word: Word | None,
    signals: Signals,
) -> int:
    async with open_application(loaded, config) as application:
        await _look_back(application, word)
        ending = await place(application, lanes, is_until_empty, signals)
    if ending is None:
        return AS_ASKED
    complain(f"stopped early: {ending}")
    return STOPPED_EARLY


async def _run_here(
    config: Path, application: Application, lanes: list[str] | None, is_until_empty: bool, signals: Signals
) -> str | None:
    """Work in this process; gives the sentence that ended it early."""
    endings: list[str | None] = []

    async def watch(worker: WorkerProcess) -> None:
        async with anyio.create_task_group() as watching:
            watching.start_soon(heed_hangups, worker.reconfigure, config, signals)
            if is_until_empty:
                endings.append(await nothing_left(worker, application.registry))
                watching.cancel_scope.cancel()

    await work(application, Metrics(), watch, signals, lanes)
    return next(filter(None, endings), None)


async def _run_on_cluster(
    config: Path,
    address: str,
    application: Application,
    lanes: list[str] | None,
    is_until_empty: bool,
    signals: Signals,
) -> str | None:
    """Place the lanes on a cluster and follow them; gives the sentence that ended it early."""
    from worker.cluster.head import connect  # noqa: PLC0415 (Ray is an extra)
    from worker.cluster.lanes import Fleet  # noqa: PLC0415

    await connect(address, application.settings)
    fleet, stop = Fleet(application, lanes), Stop()
    async with anyio.create_task_group() as following:
        with signals.stopping(stop.request, following.cancel_scope.cancel):
            following.start_soon(heed_hangups, fleet.reconfigure, config, signals)
            ending = await fleet.run(stop, is_until_empty=is_until_empty)
            following.cancel_scope.cancel()
    return ending


async def _look_back(application: Application, word: Word | None) -> None:
    if marked := await refuse_old_past(application, word):
        out.print(f"{counted(marked, 'video')} set aside as uncertain")


async def _register(application: Application, request: Request, *, is_dry_run: bool) -> Discovered:
    """Register (or count) with a spinner on a terminal, and say what was found."""
    found = Discovered()
    with counting(err, "registering", request.name, found):
        await (count if is_dry_run else enqueue_sources)(application, request, found)
    out.print(discovered(request.name, found, is_dry_run=is_dry_run))
    return found


def _chosen_lanes(text: str | None, loaded: Loaded) -> list[str] | None:
    """Those that were named; None for all."""
    if text is None:
        return None
    configured = list(loaded.settings.lanes)
    chosen = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in chosen if name not in configured]:
        raise UsageError(f"--lanes {unknown[0]}: the config file has no such lane; it has {', '.join(configured)}")
    return chosen

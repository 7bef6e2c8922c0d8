"""A worker process: keeps the lanes of the settings in force, writes their pages, and watches over the whole."""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.streams.memory import MemoryObjectSendStream

from worker.app import Application
from worker.config import Changes, Settings, changes_between
from worker.errors import UsageError
from worker.flow.every import every
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.metrics import Metrics
from worker.model import Page
from worker.ownership import LaneState, Ownership
from worker.pipeline.write import Writer
from worker.stages import run_stages
from worker.store.archive import Archive
from worker.store.guards import Guards
from worker.store.jobs import Jobs
from worker.store.leases import Holder
from worker.store.pages import Pages
from worker.store.space import lack_of_space
from worker.store.upgrades import Upgrades
from worker.web.history import History
from worker.web.pages import WebPages
from worker.web.playback import Playback
from worker.web.questions import Questions
from worker.web.server import serve

PAGES_IN_FLIGHT = 8  # between fetchers and writer: a slow database slows the fetchers, not the memory
BOOKS_SECONDS = 5.0
PAST_SECONDS = 60.0
RESTORED = "the database was restored, and what was bought before may be unknown here; see `modworker run --help`"
SCHEMA_SECONDS = 5.0  # one small table is read: cheap enough to notice an upgrade before much fails

log = structlog.get_logger()


class WorkerProcess:
    """Works on as many of its lanes as it can get, until it is stopped."""

    def __init__(self, application: Application, metrics: Metrics, chosen: Collection[str] | None) -> None:
        self._application = application
        self._metrics = metrics
        self._chosen = chosen  # None: every lane that there is or will be
        self._jobs = Jobs(application.database)
        self._guards = Guards(application.database)
        self._holder = Holder(uuid.uuid4(), application.name)
        self._halted: str | None = None
        self._upgrades = Upgrades(application.database)
        self._reported: set[str] = set()  # backfills that have gauges
        self._stops: dict[str, Stop] = {}  # of lanes that are kept
        self._begin: Callable[[str], None] | None = None  # while the process runs
        self._is_reconfigured = False
        self.history = History()
        self.stop = Stop()
        self.states = {name: LaneState(name) for name in self._wanted(application.settings)}

    async def run(self) -> None:
        """Work until the stop is requested and what was taken has run dry.

        Raises:
            UsageError: if a lane is registered in another region or pinned to another account.
            DatabaseError: if the database is migrated to what does not serve this program.

        """
        gc.freeze()  # what was imported stays, and no collection need look at it again
        application = self._application
        await application.register_lanes(application.settings)
        pages_in, pages_out = anyio.create_memory_object_stream[Page](PAGES_IN_FLIGHT)
        writer = Writer(Pages(application.database), self._jobs, self._metrics, self._out_of_hand, application.traces)
        async with anyio.create_task_group() as duties:
            duties.start_soon(every, BOOKS_SECONDS, self._publish_books)
            duties.start_soon(every, BOOKS_SECONDS, self._stop_failing)
            duties.start_soon(every, PAST_SECONDS, self._stop_suspected)
            if application.settings.database.is_embedded:
                await self._watch_the_disk()
                duties.start_soon(every, BOOKS_SECONDS, self._watch_the_disk)
            duties.start_soon(every, SCHEMA_SECONDS, self._upgrades.refuse_newer_schema)
            async with anyio.create_task_group() as stages:
                stages.start_soon(writer.run, pages_out)
                async with pages_in, anyio.create_task_group() as lanes:

                    def begin(name: str) -> None:
                        lanes.start_soon(self._keep, pages_in, name)

                    self._begin = begin
                    for name in self.states:
                        begin(name)
                self._begin = None
            duties.cancel_scope.cancel()

    async def reconfigure(self, configured: Settings) -> Changes:
        """Put other settings in force as far as a running process can; no job is lost by it.

        Raises:
            UsageError: if they lack a lane that was chosen, or have one that is registered in another region; then
                nothing has changed.

        """
        if gone := sorted(set(self._chosen or ()) - configured.lanes.keys()):
            raise UsageError(f"lanes.{gone[0]} is missing, and this process was started with --lanes {gone[0]}")
        changes = changes_between(self._application.configured, configured)
        await self._application.register_lanes(configured)
        self._application.reconfigure(changes.lanes)
        self._is_reconfigured = True
        for name in changes.adjusted:
            self._adjust(name)
        for name in changes.reopened + changes.removed:
            self._give_up(name)
        for name in self._wanted(self._application.settings):
            if name not in self._stops and self._begin and not self.stop.is_requested:
                self.states[name] = LaneState(name)
                self._begin(name)
        return changes

    def _wanted(self, settings: Settings) -> list[str]:
        return [name for name in settings.lanes if self._chosen is None or name in self._chosen]

    def _adjust(self, name: str) -> None:
        """Apply other quotas at once where the lane is owned; else it is stood by for anew, with them."""
        state = self.states.get(name)
        if state and state.lane:
            state.lane.adjust(self._application.settings.lanes[name])
        else:
            self._give_up(name)

    def _give_up(self, name: str) -> None:
        if name in self._stops:
            self._stops[name].request()

    async def _keep(self, pages: MemoryObjectSendStream[Page], name: str) -> None:
        """Keep a lane for as long as the settings have it, each time as they have it."""
        while name in self._application.settings.lanes and not self.stop.is_requested:
            with self.stop.part() as stop:
                self._stops[name] = stop
                try:
                    await self._keep_as_configured(name, pages, stop)
                except UsageError as error:
                    if not self._is_reconfigured:
                        raise
                    await self._leave_alone(name, str(error), stop)
        if not self.stop.is_requested:
            del self.states[name]
        self._stops.pop(name, None)  # a stop that came before the lane was stood by for left none

    async def _leave_alone(self, name: str, reason: str, stop: Stop) -> None:
        """A new configuration has a mistake that only AWS shows: the other lanes go on."""
        log.error("lane left alone until the config file is another one", lane=name, reason=reason)
        self.states[name].refuse(reason, for_good=True)
        with stop.taking():
            await anyio.sleep_forever()

    async def _keep_as_configured(self, name: str, pages: MemoryObjectSendStream[Page], stop: Stop) -> None:
        application = self._application
        settings = application.settings
        row = await application.leases.register(name, settings.lanes[name].region)

        async def work(lane: Lane) -> None:
            lane.halted = self._halted
            await run_stages(lane, application.database, pages.clone(), stop)

        ownership = Ownership(
            self.states[name],
            settings,
            application.leases,
            self._jobs,
            self._metrics,
            stop,
            self._holder,
            application.traces,
        )
        await ownership.keep(row, application.credentials_of(name), work)

    def _out_of_hand(self, job_id: int) -> None:
        for state in self.states.values():
            if state.lane:
                state.lane.reading.discard(job_id)

    async def reason_against_readiness(self) -> str | None:
        """Why the process is not ready, None if it is: the database answers, and each lane is owned by somebody."""
        await self._application.database.is_reachable()
        for state in self.states.values():
            if state.lane is None and state.other_owner is None:
                return f"lane {state.name} is neither owned nor stood by for"
        return None

    async def _publish_books(self) -> None:
        """Refresh the gauges that come from the database, or from all lanes together; those of purged backfills go."""
        self._metrics.oldest_result(max((lane.result_age_seconds for lane in self._owned()), default=0.0))
        books = await self._application.reports.books()
        self.history.record(time.time(), books["backfills"], books["lanes"])
        names = {backfill["name"] for backfill in books["backfills"]}
        for name in self._reported - names:
            self._metrics.forget_backfill(name)
        self._reported = names
        for backfill in books["backfills"]:
            self._metrics.counted(backfill["name"], backfill["videos"])
            self._metrics.spent(
                backfill["name"],
                spent_usd=backfill["spent_usd"],
                reserved_usd=backfill["reserved_usd"],
                budget_usd=backfill["budget_usd"],
            )

    async def _stop_failing(self) -> None:
        """Pause the backfills of which too many videos fail."""
        for paused in await self._guards.pause_failing():
            log.error("backfill paused", backfill=paused.backfill, reason=paused.reason)

    async def _stop_suspected(self) -> None:
        """Pause what a database restored within the tokens' life could not buy before they were forgotten."""
        if suspicion := await self._guards.suspicion(self._application.settings.aws.reliable_token_seconds):
            for paused in await self._guards.pause_suspected(suspicion, RESTORED):
                log.error("backfill paused", backfill=paused.backfill, reason=paused.reason)

    async def _watch_the_disk(self) -> None:
        """Claim nothing while the embedded database is short of space: results can wait at AWS, for a while."""
        before, self._halted = self._halted, lack_of_space(self._application.settings.database)
        if self._halted and not before:
            log.error("disk nearly full: nothing more is claimed", reason=self._halted)
        elif before and not self._halted:
            log.info("disk has room again: claiming goes on")
        for lane in self._owned():
            lane.halted = self._halted

    @property
    def may_have_arrivals(self) -> bool:
        """Whether new videos may wait in a queue that one of the lanes can take them from."""
        lanes, states = self._application.settings.lanes, list(self.states.values())
        return any(
            state.may_have_arrivals for state in states if state.name in lanes and lanes[state.name].arrivals.queue_url
        )

    def _owned(self) -> list[Lane]:
        return list(self.owned_lanes().values())

    def owned_lanes(self) -> dict[str, Lane]:
        """The lanes of this process by name, as long as they are its own."""
        return {name: state.lane for name, state in self.states.items() if state.lane}


@asynccontextmanager
async def pages(application: Application, worker: WorkerProcess, metrics: Metrics) -> AsyncIterator[None]:
    """The worker's HTTP pages, where configured."""
    settings = application.settings.worker
    if not settings.http_listen:
        yield
        return
    archive, playback = Archive(application.database), Playback(worker.owned_lanes)
    questions = Questions(application.name, application.reports, archive, worker.history, playback)
    routes = WebPages(settings.http_token.get_secret_value(), questions, archive, playback).routes()
    async with serve(settings.http_listen, metrics=metrics, ready=worker.reason_against_readiness, pages=routes) as url:
        log.info("pages, health and metrics are served", url=url)
        yield

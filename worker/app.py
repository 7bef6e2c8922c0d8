"""The composition root: opens the database and the local service, joins the stages by streams, runs and stops them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from worker.aws.session import Credentials
from worker.config import Loaded, Settings, secrets
from worker.flow.every import every
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.local.accounts import access_key_of, account_of, local_lane
from worker.local.child import local_service
from worker.log import keep_secret
from worker.metrics import Metrics
from worker.model import Job, Notice, Page
from worker.ownership import LaneState, Ownership
from worker.pipeline.claim import Claimer, claim_ahead
from worker.pipeline.complete import find_overdue, mark, poll
from worker.pipeline.fetch import Fetcher
from worker.pipeline.start import Starter, confirm
from worker.pipeline.write import Writer
from worker.store.claims import Claims
from worker.store.database import Database, open_database
from worker.store.embedded import embedded_postgres
from worker.store.guards import Guards
from worker.store.jobs import Jobs, Started
from worker.store.leases import Holder, LaneRow, Leases
from worker.store.pages import Pages
from worker.store.registry import Registry
from worker.store.reports import Reports
from worker.store.upgrades import Upgrades

PAGES_IN_FLIGHT = 8  # between fetchers and writer: a slow database slows the fetchers, not the memory
STARTED_IN_FLIGHT = 100
NOTICES_IN_FLIGHT = 100
SLOTS_PER_POLLER = 200  # concurrent jobs that one more long poll of the queue is worth
MOST_POLLERS = 8
OVERDUE_SECONDS = 1.0
LEARN_SECONDS = 15.0
BOOKS_SECONDS = 5.0
PAST_SECONDS = 60.0
RESTORED = "the database was restored, and what was bought before may be unknown here; see `modworker run --help`"
SCHEMA_SECONDS = 5.0  # one small table is read: cheap enough to notice an upgrade before much fails

log = structlog.get_logger()


def operator_of(settings: Settings) -> str:
    """Who gives the commands, as the audit names them: the configured name, else user and host."""
    return settings.worker.name or f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        return str(os.getuid())


@asynccontextmanager
async def open_store(settings: Settings, *, may_migrate: bool = False) -> AsyncIterator[Database]:
    """The database of the settings; the embedded one is started if nobody else has, and always brought up to date."""
    keep_secret(secrets(settings))
    async with AsyncExitStack() as stack:
        url = settings.database.url.get_secret_value()
        if settings.database.is_embedded:
            url = await stack.enter_async_context(embedded_postgres(settings.database.data_dir))
        yield await stack.enter_async_context(
            open_database(
                url,
                deployment=settings.deployment,
                may_migrate=may_migrate or settings.database.migrate or settings.database.is_embedded,
                pool_size=settings.database.pool_size,
            )
        )


@asynccontextmanager
async def with_local_service(loaded: Loaded, config_file: Path) -> AsyncIterator[Settings]:
    """The settings with every local lane pointed at the running local service."""
    settings = loaded.settings
    if not any(lane.is_local for lane in settings.lanes.values()):
        yield settings
        return
    async with local_service(config_file, settings.database.data_dir) as url:
        lanes = {n: local_lane(n, lane, url) if lane.is_local else lane for n, lane in settings.lanes.items()}
        yield settings.model_copy(update={"lanes": lanes})


@asynccontextmanager
async def open_application(loaded: Loaded, config_file: Path) -> AsyncIterator[Application]:
    """Open what the commands that touch AWS share.

    Raises:
        DatabaseError: if the database cannot serve.
        UsageError: if the local service does not start.

    """
    async with open_store(loaded.settings) as database, with_local_service(loaded, config_file) as settings:
        yield Application(settings, loaded.settings, database)


class Application:
    """Settings, database, and the made-up credentials of local lanes."""

    def __init__(self, settings: Settings, configured: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.registry = Registry(database)
        self.reports = Reports(database)
        self.leases = Leases(database)
        self.name = settings.worker.name or f"{socket.gethostname()}-{os.getpid()}"
        self.operator = operator_of(settings)
        self._local = [name for name, lane in configured.lanes.items() if lane.is_local]

    @property
    def service_url(self) -> str | None:
        """Where the local service listens, if any lane uses it."""
        return self.settings.lanes[self._local[0]].endpoint_url if self._local else None

    def credentials_of(self, lane_name: str) -> Credentials | None:
        """Those of a local lane's made-up account; None for what the environment, profile or role gives."""
        return Credentials(access_key_of(account_of(lane_name)), "local") if lane_name in self._local else None

    async def register_lanes(self) -> dict[str, LaneRow]:
        """Every configured lane's row.

        Raises:
            UsageError: if one is registered in another region.

        """
        return {name: await self.leases.register(name, lane.region) for name, lane in self.settings.lanes.items()}


class WorkerProcess:
    """Works on as many of the chosen lanes as it can get, until it is stopped."""

    def __init__(self, application: Application, metrics: Metrics, lanes: Sequence[str]) -> None:
        self._application = application
        self._metrics = metrics
        self._jobs = Jobs(application.database)
        self._claims = Claims(application.database)
        self._pages = Pages(application.database)
        self._guards = Guards(application.database)
        self._halted: str | None = None
        self._upgrades = Upgrades(application.database)
        self._reported: set[str] = set()  # backfills that have gauges
        self.stop = Stop()
        self.states = {name: LaneState(name) for name in lanes}

    async def run(self) -> None:
        """Work until the stop is requested and what was taken has run dry.

        Raises:
            UsageError: if a lane is registered in another region or pinned to another account.
            DatabaseError: if the database is migrated to what does not serve this program.

        """
        rows = await self._application.register_lanes()
        holder = Holder(uuid.uuid4(), self._application.name)
        pages_in, pages_out = anyio.create_memory_object_stream[Page](PAGES_IN_FLIGHT)
        writer = Writer(self._pages, self._jobs, self._metrics, self._out_of_hand)
        async with anyio.create_task_group() as duties:
            duties.start_soon(every, BOOKS_SECONDS, self._publish_books)
            duties.start_soon(every, BOOKS_SECONDS, self._stop_failing)
            duties.start_soon(every, PAST_SECONDS, self._stop_suspected)
            if self._application.settings.database.is_embedded:
                await self._watch_the_disk()
                duties.start_soon(every, BOOKS_SECONDS, self._watch_the_disk)
            duties.start_soon(every, SCHEMA_SECONDS, self._upgrades.refuse_newer_schema)
            async with anyio.create_task_group() as stages:
                stages.start_soon(writer.run, pages_out)
                async with pages_in, anyio.create_task_group() as lanes:
                    for name in self.states:
                        lanes.start_soon(self._keep, name, rows[name], holder, pages_in)
            duties.cancel_scope.cancel()

    async def _keep(self, name: str, row: LaneRow, holder: Holder, pages: MemoryObjectSendStream[Page]) -> None:
        application = self._application
        ownership = Ownership(
            self.states[name], application.settings, application.leases, self._jobs, self._metrics, self.stop, holder
        )
        credentials = application.credentials_of(name)
        await ownership.keep(row, credentials, lambda lane: self._run_stages(lane, pages.clone()))

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
        names = {backfill["name"] for backfill in books}
        for name in self._reported - names:
            self._metrics.forget_backfill(name)
        self._reported = names
        for backfill in books:
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
        database = self._application.settings.database
        free_gb = shutil.disk_usage(database.data_dir).free / 1e9
        reason = f"{free_gb:.1f} GB are free, database.min_free_gb is {database.min_free_gb:g}"
        before, self._halted = self._halted, reason if free_gb < database.min_free_gb else None
        if self._halted and not before:
            log.error("disk nearly full: nothing more is claimed", reason=reason)
        elif before and not self._halted:
            log.info("disk has room again: claiming goes on")
        for lane in self._owned():
            lane.halted = self._halted

    def _owned(self) -> list[Lane]:
        return [state.lane for state in self.states.values() if state.lane]

    async def _run_stages(self, lane: Lane, pages: MemoryObjectSendStream[Page]) -> None:
        """Join the lane's stages by streams; ends after the stop, when they have run dry."""
        lane.halted = self._halted
        intents_in, intents_out = anyio.create_memory_object_stream[Job](claim_ahead(lane))
        started_in, started_out = anyio.create_memory_object_stream[Started](STARTED_IN_FLIGHT)
        notices_in, notices_out = anyio.create_memory_object_stream[Notice](NOTICES_IN_FLIGHT)
        claimer = Claimer(lane, self._claims, intents_in, self.stop)
        starter = Starter(lane, self._jobs, started_in, self.stop)
        inherited = await self._jobs.intents(lane.id)  # before the first claim: none of this owner's own is among them
        fetcher = Fetcher(lane, self._jobs, pages, self.stop)
        async with anyio.create_task_group() as duties:
            async with anyio.create_task_group() as stages:
                stages.start_soon(claimer.run)
                stages.start_soon(starter.run, inherited, intents_out)
                stages.start_soon(confirm, self._jobs, started_out)
                self._start_pollers(lane, stages, notices_in)
                stages.start_soon(mark, lane, self._jobs, notices_out)
                stages.start_soon(fetcher.run)
                duties.start_soon(every, OVERDUE_SECONDS, lambda: find_overdue(lane, self._jobs))
                duties.start_soon(every, LEARN_SECONDS, lambda: self._look_after(lane, claimer))
            duties.cancel_scope.cancel()

    def _start_pollers(self, lane: Lane, stages: TaskGroup, notices: MemoryObjectSendStream[Notice]) -> None:
        pollers = min(MOST_POLLERS, 1 + lane.slots.ceiling // SLOTS_PER_POLLER)
        for _ in range(pollers):
            stages.start_soon(poll, lane, self._jobs, notices.clone(), self.stop)
        notices.close()

    async def _look_after(self, lane: Lane, claimer: Claimer) -> None:
        """Learn what jobs take here; return claims that nobody has in hand; see how old the results grow."""
        lane.usual_times = await self._jobs.usual_times(lane.id)
        await claimer.recover()
        lane.oldest_result(await self._guards.oldest_result_seconds(lane.id))

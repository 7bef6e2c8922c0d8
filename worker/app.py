"""What the commands share: the settings in force, the database, and the local service if a lane uses it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from worker.aws.session import Credentials
from worker.config import Lane as LaneSettings
from worker.config import Loaded, Settings, secrets
from worker.local.accounts import access_key_of, account_of, local_lane
from worker.local.child import local_service
from worker.log import keep_secret
from worker.store.database import Database, open_database
from worker.store.embedded import embedded_postgres
from worker.store.leases import LaneRow, Leases
from worker.store.registry import Registry
from worker.store.reports import Reports
from worker.traces import UNTRACED, Traces


def operator_of(settings: Settings) -> str:
    """Who gives the commands, as the audit names them: the configured name, else user and host."""
    return settings.worker.name or f"{_user()}@{socket.gethostname()}"


def name_of(settings: Settings) -> str:
    """Of this process, for people."""
    return settings.worker.name or f"{socket.gethostname()}-{os.getpid()}"


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
        yield _served_at(url, settings)


def _served_at(url: str | None, settings: Settings) -> Settings:
    """The settings with every local lane pointed at the service of that URL."""
    lanes = {n: local_lane(n, lane, url) if url and lane.is_local else lane for n, lane in settings.lanes.items()}
    return settings.model_copy(update={"lanes": lanes})


def credentials_of(name: str, configured: LaneSettings) -> Credentials | None:
    """Those of a local lane's made-up account; None for what the environment, profile or role gives."""
    return Credentials(access_key_of(account_of(name)), "local") if configured.is_local else None


@asynccontextmanager
async def traces_of(settings: Settings, name: str) -> AsyncIterator[Traces]:
    """What the process of that name tells of its work, where the settings name a collector.

    Raises:
        UsageError: if the extra is not installed.

    """
    if not settings.traces.url:
        yield UNTRACED
        return
    from worker.otel import exported  # noqa: PLC0415 (an extra)

    async with exported(settings.traces, name) as traces:
        yield traces


@asynccontextmanager
async def open_application(loaded: Loaded, config_file: Path) -> AsyncIterator[Application]:
    """Open what the commands that touch AWS share.

    Raises:
        DatabaseError: if the database cannot serve.
        UsageError: if the local service does not start, or traces are wanted and cannot be made.

    """
    async with (
        traces_of(loaded.settings, name_of(loaded.settings)) as traces,
        open_store(loaded.settings) as database,
        with_local_service(loaded, config_file) as settings,
    ):
        yield Application(settings, loaded.settings, database, traces)


class Access:
    """How the lanes reach AWS, or what stands in for it: settings, and the made-up credentials of local lanes."""

    def __init__(self, settings: Settings, configured: Settings) -> None:
        self.settings = settings
        self.configured = configured

    @property
    def service_url(self) -> str | None:
        """Where the local service listens, if any lane uses it."""
        local = (name for name, lane in self.configured.lanes.items() if lane.is_local)
        return next((self.settings.lanes[name].endpoint_url for name in local), None)

    def credentials_of(self, lane_name: str) -> Credentials | None:
        """As `credentials_of`, of a configured lane."""
        return credentials_of(lane_name, self.configured.lanes[lane_name])


class Application(Access):
    """What works on a database."""

    def __init__(self, settings: Settings, configured: Settings, database: Database, traces: Traces = UNTRACED) -> None:
        super().__init__(settings, configured)
        self.database = database
        self.traces = traces
        self.registry = Registry(database)
        self.reports = Reports(database)
        self.leases = Leases(database)
        self.name = name_of(settings)
        self.operator = operator_of(settings)

    async def register_lanes(self, settings: Settings) -> dict[str, LaneRow]:
        """Every lane's row.

        Raises:
            UsageError: if one is registered in another region.

        """
        return {name: await self.leases.register(name, lane.region) for name, lane in settings.lanes.items()}

    def reconfigure(self, lanes: dict[str, LaneSettings]) -> None:
        """Other lanes are in force from now on."""
        self.configured, service_url = self.configured.model_copy(update={"lanes": lanes}), self.service_url
        self.settings = _served_at(service_url, self.configured)

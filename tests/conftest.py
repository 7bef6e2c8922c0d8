"""Real PostgreSQL for every test that asks for a database: a copy of a migrated template, dropped afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import looptime
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.postgres import (
    DEPLOYMENT,
    KINDS,
    drop_database,
    fresh_database,
    migrated,
    run_folder,
    template,
    throwaway_server,
)
from tests.system.site import Site
from worker.store.database import Database, open_database

# Every local service that a test starts checks its own answers; a wrong one is an error 500, and says so in the log.
os.environ["MODWORKER_LOCAL__CHECK_ANSWERS"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that take longest begin first, so that the processes of a run end together."""
    items.sort(key=lambda item: "system" not in item.path.parts)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops of `tests/flow` do not wait: their clock jumps to whatever comes next."""
    if "flow" in item.path.parts:
        return {"virtual_time": looptime.new_event_loop}
    return {"true_time": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """An event loop beside those of the tests, for what outlives one test."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def server_url(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a throw-away server by its kind, started when it is first asked for."""
    folder = run_folder(tmp_path_factory)
    running: dict[str, str] = {}
    with ExitStack() as stack:

        def started(kind: str) -> str:
            if kind not in running:
                server = portal.wrap_async_context_manager(throwaway_server(kind, folder))
                running[kind] = stack.enter_context(server)
            return running[kind]

        yield started


async def _fresh(server: str) -> str:
    return await fresh_database(server, await template(server, "migrated", migrated))


@pytest.fixture
def fresh_url(portal: BlockingPortal, server_url: Callable[[str], str]) -> Iterator[Callable[[], str]]:
    """Makes migrated databases on the embedded server (Debian's where there is none)."""
    made: list[str] = []

    def make() -> str:
        made.append(portal.call(_fresh, server_url(KINDS[0])))
        return made[-1]

    yield make
    for url in made:
        portal.call(drop_database, url)


@pytest.fixture
def database_url(fresh_url: Callable[[], str]) -> str:
    """A migrated database on the embedded server (Debian's where there is none)."""
    return fresh_url()


@pytest.fixture
def empty_database_url(portal: BlockingPortal, server_url: Callable[[str], str]) -> Iterator[str]:
    """A database without any schema."""
    url = portal.call(fresh_database, server_url(KINDS[0]))
    yield url
    portal.call(drop_database, url)


@pytest.fixture(params=KINDS)
def any_database_url(
    request: pytest.FixtureRequest, portal: BlockingPortal, server_url: Callable[[str], str]
) -> Iterator[str]:
    """A migrated database on each kind of server in turn."""
    url = portal.call(_fresh, server_url(request.param))
    yield url
    portal.call(drop_database, url)


@pytest.fixture
async def database(any_database_url: str) -> AsyncIterator[Database]:
    """The store's own view of a migrated database, on each kind of server in turn."""
    async with open_database(any_database_url, deployment=DEPLOYMENT, may_migrate=False, pool_size=8) as database:
        yield database


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    """A folder with a config file, a database and a local service, in which real worker processes run."""
    with Site(tmp_path, database_url) as site:
        yield site

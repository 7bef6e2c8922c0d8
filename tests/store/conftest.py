"""One database of each kind of server a module, emptied after every test, when its books have been checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.conftest import DEPLOYMENT, KINDS
from tests.postgres import drop_database, fresh_database
from tests.store.steps import Steps
from worker.store.database import open_database
from worker.store.migrate import migrate

TABLES = """
select string_agg(quote_ident(tablename), ', ') from pg_tables
 where schemaname = 'public' and tablename not in ('deployment', 'schema_migration')
"""


async def _migrated(server: str) -> str:
    url = await fresh_database(server)
    connection = await asyncpg.connect(url)
    await migrate(connection, DEPLOYMENT)
    await connection.close()
    return url


@pytest.fixture(scope="module", params=KINDS)
def module_database_url(
    request: pytest.FixtureRequest, portal: BlockingPortal, server_url: Callable[[str], str]
) -> Iterator[str]:
    """A migrated database that the tests of a module share, on each kind of server in turn."""
    url = portal.call(_migrated, server_url(request.param))
    yield url
    portal.call(drop_database, url)


@pytest.fixture
async def steps(module_database_url: str) -> AsyncIterator[Steps]:
    """The store over an empty, migrated database; afterwards `verify` must find nothing."""
    async with open_database(module_database_url, deployment=DEPLOYMENT, may_migrate=False, pool_size=8) as database:
        steps = Steps(database)
        yield steps
        _, findings = await steps.reports.verify(None, is_thorough=True)
        await database.pool.execute(f"truncate {await steps.value(TABLES)} restart identity cascade")
        await database.pool.execute("update deployment set incarnation = null, restored_from = null")
        assert findings == []

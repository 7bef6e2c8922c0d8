"""What is sent over a connection of the pool."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from asyncpg.connection import LoggedQuery

from tests.conftest import DEPLOYMENT
from worker.store.database import Database, open_database


@pytest.fixture
async def database(module_database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    async with open_database(module_database_url, deployment=DEPLOYMENT, may_migrate=False, pool_size=1) as database:
        yield database


async def test_a_statement_is_one_round_trip(database: Database):
    """Nothing is sent beside it: the next one finds the session as it is."""
    sent: list[str] = []

    def note(query: LoggedQuery) -> None:
        sent.append(query.query)

    async with database.pool.acquire() as connection:
        connection.add_query_logger(note)
    assert await database.is_reachable()
    assert sent == ["select true"]

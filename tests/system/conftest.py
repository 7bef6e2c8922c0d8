"""What tests of whole processes share: questions to their database, and the smallest AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.system.small_aws import CREDENTIALS, SmallAws, small_aws

Query = Callable[..., list[asyncpg.Record]]
"""(statement, its arguments) -> rows of the test's database."""


@pytest.fixture
def query(portal: BlockingPortal, database_url: str) -> Query:
    """Asks the test's database."""

    async def ask(sql: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    return lambda sql, *arguments: portal.call(ask, sql, *arguments)


@pytest.fixture
def aws(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallAws]:
    """What answers, with credentials for it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with portal.wrap_async_context_manager(small_aws()) as aws:
        yield aws

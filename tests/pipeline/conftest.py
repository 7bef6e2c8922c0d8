"""A lane that is owned in the database, and the account that it may call once its lease is renewed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.store.steps import Steps
from tests.system.small_aws import SmallAws, clients_of, small_aws
from worker.config import Lane as LaneSettings
from worker.config import Settings
from worker.lane import Lane
from worker.metrics import Metrics
from worker.store.database import Database
from worker.store.jobs import UsualTimes


@pytest.fixture
def steps(database: Database) -> Steps:
    return Steps(database)


@pytest.fixture
async def aws() -> AsyncIterator[SmallAws]:
    async with small_aws() as aws:
        yield aws


@pytest.fixture
async def lane(steps: Steps, aws: SmallAws) -> AsyncIterator[Lane]:
    settings = Settings(lanes={"main": LaneSettings(region="us-east-1", endpoint_url="local")})
    async with clients_of(aws) as clients:
        yield Lane("main", settings, await steps.own(), [], clients, Metrics(), UsualTimes(None, None))

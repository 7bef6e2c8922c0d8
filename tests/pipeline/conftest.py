"""A lane that is owned in the database and calls nobody."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.steps import Steps
from tests.test_lane import NoClient
from worker.aws.session import Clients
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
async def lane(steps: Steps) -> Lane:
    client: Any = NoClient()
    settings = Settings(lanes={"main": LaneSettings(region="us-east-1", endpoint_url="local")})
    clients = Clients(client, client, client, client, "123456789012", None)
    return Lane("main", settings, await steps.own(), [], clients, Metrics(), UsualTimes(None, None))

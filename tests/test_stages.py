"""What looks after a lane while its stages run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.store.steps import Steps
from tests.system.small_aws import clients_of_small_aws
from worker.aws.rekognition import GET
from worker.config import Aws, Settings
from worker.config import Lane as LaneSettings
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.metrics import Metrics
from worker.model import Job
from worker.pipeline.claim import Claimer
from worker.stages import look_after
from worker.store.database import Database
from worker.store.guards import Guards

LIFE_SECONDS = 20.0


@pytest.fixture
def steps(database: Database) -> Steps:
    return Steps(database)


@pytest.fixture
async def lane(steps: Steps) -> AsyncIterator[Lane]:
    """A lane that may read one page a second, of results that live for 20 seconds."""
    config = LaneSettings(region="us-east-1", endpoint_url="local", get_per_second=1.0)
    settings = Settings(lanes={"main": config}, aws=Aws(results_seconds=LIFE_SECONDS))
    owner = await steps.own()
    usual_times = await steps.jobs.usual_times(owner.lane_id)
    async with clients_of_small_aws() as clients:
        yield Lane("main", settings, owner, [], clients, Metrics(), usual_times)


async def test_starts_are_held_back_while_results_would_expire(steps: Steps, lane: Lane):
    """What runs and what waits counts; when enough of it was read the lane claims again."""
    intents, nobody = anyio.create_memory_object_stream[Job](1)
    nobody.close()
    claimer = Claimer(lane, steps.claims, intents, Stop())
    guards, backfill = Guards(steps.database), await steps.backfill()
    running = await steps.running(lane.owner, backfill, [f"{number}.mp4" for number in range(10)])
    ready = await steps.ready(lane.owner, backfill, [f"{number}-ready.mp4" for number in range(10)])
    await look_after(lane, claimer, steps.jobs, guards)
    assert not lane.may_claim
    assert "take 0.0 days to read" in str(lane.report()["halted"])
    lane.paces[GET].limit(5.0)
    await look_after(lane, claimer, steps.jobs, guards)
    assert lane.may_claim
    assert lane.report()["halted"] is None
    assert len(running) == len(ready) == 10
    intents.close()

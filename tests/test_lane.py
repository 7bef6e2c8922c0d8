"""What a lane allows, and until when."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.system.small_aws import clients_of_small_aws
from worker.config import Settings
from worker.config.settings import Lane as LaneSettings
from worker.errors import AwsError, Verdict
from worker.flow.clock import now_seconds
from worker.lane import Lane
from worker.metrics import Metrics
from worker.model import Channel, Job
from worker.store.jobs import UsualTimes
from worker.store.leases import LaneHolder

LEASE_SECONDS = 15.0
DAY_SECONDS = 86_400.0


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    """A lane whose lease was renewed just now."""
    settings = Settings(lanes={"main": LaneSettings(region="us-east-1", endpoint_url="local")})
    async with clients_of_small_aws() as clients:
        owner = LaneHolder(1, uuid.uuid4(), 1)
        lane = Lane("main", settings, owner, [], clients, Metrics(), UsualTimes(None, None))
        lane.lease_renewed(now_seconds())
        yield lane


def job_of(age_days: float) -> Job:
    """A job whose intent is so old."""
    channel, intent_at = Channel(1, "topic", "role"), now_seconds() - age_days * DAY_SECONDS
    return Job(1, "tag", "token", "archive", "a.mp4", None, 50.0, channel, intent_at, is_replay=True)


@pytest.mark.parametrize("jump_seconds", [-DAY_SECONDS, DAY_SECONDS])
async def test_clock_that_jumps_changes_no_lease(lane: Lane, monkeypatch: pytest.MonkeyPatch, jump_seconds: float):
    """The lease is judged by a clock that nobody can set: neither lost early nor kept too long."""
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + jump_seconds)
    assert lane.is_held
    lane.lease_renewed(now_seconds() - LEASE_SECONDS)
    assert not lane.is_held


async def test_lease_is_not_used_to_its_end(lane: Lane):
    """No call begins in the last fifth of a lease: it may take a while to be sent."""
    lane.lease_renewed(now_seconds() - 0.79 * LEASE_SECONDS)
    assert lane.is_held
    lane.lease_renewed(now_seconds() - 0.81 * LEASE_SECONDS)
    assert not lane.is_held


async def test_token_is_relied_on_for_six_and_a_half_days(lane: Lane):
    """Half a day of its life is left for the clocks of others."""
    assert lane.is_token_good(job_of(6.49))
    assert not lane.is_token_good(job_of(6.51))


async def test_objects_that_rekognition_cannot_get_in_a_row_stop_the_lane(lane: Lane):
    """Five in a row; a start that succeeds in between proves role and key."""
    hidden = AwsError(Verdict.VIDEO_REJECTED, "InvalidS3ObjectException", "no access")
    for _ in range(4):
        lane.hidden(hidden)
    async with lane.call("StartContentModeration", job_of(0)):
        pass
    for _ in range(4):
        lane.hidden(hidden)
    assert lane.may_claim
    lane.hidden(hidden)
    assert not lane.may_claim

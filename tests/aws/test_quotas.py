"""Quotas from the source: what Service Quotas grants, with what is configured as a ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.system.small_aws import SmallAws, small_aws
from worker.aws.quotas import CODES, Quotas
from worker.aws.session import Credentials, open_clients
from worker.config import Lane

KEYS = Credentials("AKIA", "secret")
DEFAULT = 7.0


@pytest.fixture
def aws(portal: BlockingPortal) -> Iterator[SmallAws]:
    with portal.wrap_async_context_manager(small_aws()) as aws:
        yield aws


def lane(aws: SmallAws, **changes: Any) -> Lane:
    """A lane that asks for its quotas, and has none written."""
    section = aws.lane(quotas="auto", **changes)
    if "start_per_second" not in changes:
        del section["start_per_second"]
    return Lane(**section)


async def quotas(lane: Lane) -> Quotas | None:
    async with open_clients(lane, KEYS) as clients:
        return clients.quotas


async def test_raised_quotas_and_defaults_are_read(aws: SmallAws):
    """A quota that was never raised has its default."""
    aws.quotas = {CODES["start_per_second"]: 50.0, CODES["concurrent_jobs"]: 500.0}
    assert await quotas(lane(aws)) == Quotas(50.0, DEFAULT, 500.0)


async def test_nothing_is_asked_unless_told(aws: SmallAws):
    """Who writes his quotas needs no permission to read them."""
    assert await quotas(lane(aws).model_copy(update={"quotas": "configured"})) is None
    assert not [call for call in aws.calls if "Quota" in call]


async def test_refusal_leaves_what_is_configured(aws: SmallAws):
    """Without the permission, or with an answer that cannot be, the lane works as it is written."""
    aws.denied.add("GetServiceQuota")
    assert await quotas(lane(aws)) is None
    aws.denied.clear()
    for strange in (float("nan"), 0.0, -5.0):
        aws.quotas = {CODES["get_per_second"]: strange}
        assert await quotas(lane(aws)) is None


async def test_nothing_is_sent_to_aws_where_services_are_redirected(aws: SmallAws):
    """With endpoints of single services, Service Quotas is asked at its own only."""
    endpoints = dict.fromkeys(("rekognition", "sqs", "s3", "sts"), aws.url)
    single = lane(aws, endpoint_url=None, endpoints=endpoints)
    assert await quotas(single) is None
    told = lane(aws, endpoint_url=None, endpoints=endpoints | {"service_quotas": aws.url})
    assert await quotas(told) == Quotas(DEFAULT, DEFAULT, DEFAULT)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, (50.0, 100.0, 500)),
        ({"start_per_second": 10.0, "concurrent_jobs": 20}, (10.0, 100.0, 20)),
        ({"start_per_second": 5000.0, "get_per_second": 20.0}, (50.0, 20.0, 500)),
    ],
)
def test_what_is_written_is_a_ceiling(written: dict[str, Any], expected: tuple[float, float, int]):
    """A number in the file lowers what is granted and never raises it; a default is no number in the file."""
    limited = Quotas(50.0, 100.0, 500.9).within(Lane(region="us-east-1", endpoint_url="local", **written))
    assert (limited.start_per_second, limited.get_per_second, limited.concurrent_jobs) == expected

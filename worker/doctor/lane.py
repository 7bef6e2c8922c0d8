"""One lane's examination: all of it is looked at side by side, then judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from worker.aws.quotas import Quotas
from worker.aws.requests import Requests
from worker.aws.session import Access, Credentials, is_asked, open_access
from worker.config import Lane as LaneSettings
from worker.doctor import arrivals, buckets, channel, credentials, queue, queue_attributes, quotas, rekognition
from worker.doctor.arrivals import ArrivalsSeen
from worker.doctor.buckets import Bucket, BucketSeen
from worker.doctor.channel import ChannelSeen
from worker.doctor.examined import Examined, subject
from worker.doctor.findings import Finding, are_faulty, complaint, not_checked
from worker.doctor.queue import QueueSeen
from worker.doctor.queue_attributes import Attributes
from worker.doctor.rekognition import Calls
from worker.errors import AwsError, UsageError

SERVICES = ("rekognition", "sqs", "s3", "sns", "iam", "service-quotas")


class Surroundings(Struct, frozen=True):
    """What a lane has to fit: buckets to be read, the life of results, and jobs, of which some JobIds are known."""

    results_seconds: float
    buckets: Sequence[Bucket]
    known_jobs: Callable[[str, Sequence[str]], Awaitable[set[str]]]


class LaneReport(Struct, frozen=True):
    """What an examination came to; `account_id` is None where AWS did not let the lane in."""

    findings: list[Finding]
    account_id: str | None = None
    buckets: Mapping[str, BucketSeen] = {}


class LaneSeen(Struct, frozen=True):
    """What was looked at; a local lane's channel and quotas are made up, and are not."""

    rekognition: Calls
    queue: QueueSeen
    known: set[str]
    attributes: Attributes | AwsError
    buckets: dict[str, BucketSeen]
    arrivals: ArrivalsSeen | None
    channel: ChannelSeen | None = None
    quotas: Quotas | AwsError | None = None


async def examine(name: str, lane: LaneSettings, given: Credentials | None, around: Surroundings) -> LaneReport:
    """Examine a lane; `given` are the credentials of a local one."""
    try:
        async with open_access(lane, given) as access:
            return await _examine(name, access, around, is_local=given is not None)
    except UsageError as error:
        return LaneReport([complaint(subject(name, "credentials"), error), _left_out(name)])


async def _examine(name: str, access: Access, around: Surroundings, *, is_local: bool) -> LaneReport:
    identity = await credentials.look(access)
    findings = list(credentials.judge(name, access.lane, identity))
    if identity.refusal:
        return LaneReport([*findings, _left_out(name)])
    async with _requests(access) as requests:
        lane = Examined(name, access.lane, is_local, identity.account_id, requests)
        seen = await _look(lane, around)
    findings += _judge(lane, seen, around.results_seconds)
    return LaneReport(findings, identity.account_id, seen.buckets)


def _left_out(name: str) -> Finding:
    return not_checked(f"lane {name}", "everything else needs credentials")


@asynccontextmanager
async def _requests(access: Access) -> AsyncIterator[dict[str, Requests]]:
    """Made one after the other, as botocore wants it."""
    async with AsyncExitStack() as stack:
        asked = [service for service in SERVICES if is_asked(access.lane, service)]
        yield {service: await access.requests(service, stack) for service in asked}


async def _look(lane: Examined, around: Surroundings) -> LaneSeen:
    async with asyncio.TaskGroup() as looks:
        calls = looks.create_task(rekognition.look(lane, next((bucket.name for bucket in around.buckets), None)))
        messages = looks.create_task(queue.look(lane))
        of_arrivals = looks.create_task(arrivals.look(lane))
        attributes = looks.create_task(queue_attributes.look(lane, lane.config.queue_url))
        of_buckets = [looks.create_task(buckets.look(lane, bucket)) for bucket in around.buckets]
        beyond = None if lane.is_local else looks.create_task(_look_beyond(lane))
    of_channel, of_quotas = beyond.result() if beyond else (None, None)
    return LaneSeen(
        calls.result(),
        messages.result(),
        await around.known_jobs(lane.name, queue.named_jobs(messages.result().messages)),
        attributes.result(),
        {bucket.name: look.result() for bucket, look in zip(around.buckets, of_buckets, strict=True)},
        of_arrivals.result(),
        of_channel,
        of_quotas,
    )


async def _look_beyond(lane: Examined) -> tuple[ChannelSeen, Quotas | AwsError]:
    """What the worker itself never asks for."""
    async with asyncio.TaskGroup() as looks:
        of_channel = looks.create_task(channel.look(lane))
        of_quotas = looks.create_task(quotas.look(lane))
    return of_channel.result(), of_quotas.result()


def _judge(lane: Examined, seen: LaneSeen, results_seconds: float) -> Iterator[Finding]:
    of_channel: list[Finding] = []
    if seen.channel:
        of_channel += channel.judge(lane, seen.channel, seen.attributes, is_queue_missing=seen.queue.is_missing)
    yield from rekognition.judge(lane, seen.rekognition, is_channel_faulty=are_faulty(of_channel))
    yield from queue.judge(lane, seen.queue, seen.known)
    if seen.arrivals:
        yield from arrivals.judge(lane, seen.arrivals)
    if not seen.queue.is_missing:
        yield from queue_attributes.judge(lane, seen.attributes, results_seconds)
    yield from of_channel
    if seen.quotas:
        yield from quotas.judge(lane, seen.quotas)
    if lane.is_local:
        yield not_checked(lane.about("channel"), "topic, publish role and quotas are made up by the local service")

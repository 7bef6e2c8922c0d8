"""Whether the lane may start and read moderation, tried on an object and a job that cannot exist."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from worker.aws.rekognition import GET, START
from worker.aws.session import endpoint_of
from worker.doctor.examined import Examined, is_denied
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.errors import AwsError, Verdict

_UNREADABLE_OBJECT = "InvalidS3ObjectException"
_ROLE_PERMISSION = "iam:PassRole"


class Calls(Struct, frozen=True):
    """How the two operations ended; None for a call that brought a result, which neither should."""

    start: AwsError | None
    get: AwsError | None


async def look(lane: Examined, bucket: str | None) -> Calls:
    """Call both. The object is looked for in a bucket that the lane is to read, if one is known."""
    async with asyncio.TaskGroup() as calls:
        start = calls.create_task(lane.ask("rekognition", lambda client: _start(client, lane, bucket)))
        get = calls.create_task(lane.ask("rekognition", _get))
    return Calls(start.result(), get.result())


async def _start(client: Any, lane: Examined, bucket: str | None) -> None:
    mark = secrets.token_hex(20)
    await client.start_content_moderation(
        Video={"S3Object": {"Bucket": bucket or f"modworker-doctor-{mark}", "Name": f"modworker-doctor/{mark}.mp4"}},
        ClientRequestToken=secrets.token_hex(32),
        NotificationChannel={"SNSTopicArn": lane.config.sns_topic_arn, "RoleArn": lane.config.publish_role_arn},
        JobTag=f"modworker-doctor.{mark}",
    )


async def _get(client: Any) -> None:
    await client.get_content_moderation(JobId=secrets.token_hex(32), MaxResults=1)


def judge(lane: Examined, seen: Calls, *, is_channel_faulty: bool) -> Iterator[Finding]:
    """Topic and role that are at fault are told as such, and not once more because AWS refuses them here."""
    about = lane.about("rekognition")
    errors = {START: seen.start, GET: seen.get}
    told = {name: error for name, error in errors.items() if error}
    denied = {name: error for name, error in told.items() if _is_forbidden(name, error, is_channel_faulty)}
    if len(told) < len(errors):
        said = "a job and an object that cannot exist were found: this is not Rekognition"
        yield fault(about, said, f"check the endpoint of lanes.{lane.name}")
    elif lost := next((error for error in told.values() if error.verdict is Verdict.RETRY), None):
        where = endpoint_of(lane.config, "rekognition") or f"Rekognition in {lane.config.region}"
        yield fault(about, f"{where} does not answer ({lost})", "check region, network, and the lane's endpoints")
    elif denied:
        actions = " and ".join(f"rekognition:{name}" for name in denied)
        said = f"{actions} not allowed ({next(iter(denied.values()))})"
        yield fault(about, said, f"allow {actions} (deploy/aws/worker-policy.json)")
    elif busy := next((name for name, error in told.items() if error.verdict is Verdict.SLOW_DOWN), None):
        yield not_checked(about, f"{busy} is throttled: somebody uses the quota at this moment")
    elif told[START].code != _UNREADABLE_OBJECT:
        yield _beyond_permission(lane, told[START], is_channel_faulty=is_channel_faulty)
    else:
        yield fine(about, f"{START} and {GET} are allowed")


def _is_forbidden(name: str, error: AwsError, is_channel_faulty: bool) -> bool:
    """Whether it is the operation that is denied, and not a role or topic that it would make use of."""
    if f"rekognition:{name}" in error.message:
        return is_denied(error)
    return is_denied(error) and _ROLE_PERMISSION not in error.message and not (is_channel_faulty and name == START)


def _beyond_permission(lane: Examined, error: AwsError, *, is_channel_faulty: bool) -> Finding:
    """What a Start means that is allowed, and does not come as far as to look for its object."""
    about = lane.about("rekognition")
    if error.verdict is Verdict.NO_SLOT:
        return fine(about, f"{START} and {GET} are allowed; {error.message}")
    if is_channel_faulty:
        return not_checked(about, f"{START} is refused with the topic and role as they are ({error.code})")
    if _ROLE_PERMISSION in error.message:
        said = f"the role {lane.config.publish_role_arn} may not be passed to Rekognition ({error})"
        return fault(about, said, f"allow {_ROLE_PERMISSION} on it (deploy/aws/worker-policy.json)")
    said = f"{START} is refused ({error})"
    return fault(about, said, f"check sns_topic_arn and publish_role_arn of lanes.{lane.name}")

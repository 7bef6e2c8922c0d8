"""The queue of arrivals: whether it may be used, tells of objects, lets S3 send, and keeps what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from msgspec import Struct

from worker.aws.arrivals import read_arrivals
from worker.aws.notices import text_of
from worker.doctor import queue, queue_attributes
from worker.doctor.examined import Examined
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.doctor.policies import Decision, Request, decide, policy_of
from worker.doctor.queue import QueueSeen
from worker.doctor.queue_attributes import AWS_OWN_KEY, LEAST_MESSAGE_BYTES, NO_STATEMENT, Attributes
from worker.errors import AwsError

LEAST_RETENTION_SECONDS = 4 * 86_400  # what a queue has by default; a worker may stand still for a long weekend
SENDERS = ("s3.amazonaws.com", "sns.amazonaws.com", "events.amazonaws.com")
POLICY_FILE = "worker-policy-arrivals.json"


class ArrivalsSeen(Struct, frozen=True):
    """How the worker's calls ended, and how the queue is set up."""

    queue: QueueSeen
    attributes: Attributes | AwsError


async def look(lane: Examined) -> ArrivalsSeen | None:
    """As at the lane's own queue; None where the lane takes no arrivals."""
    if not (url := lane.config.arrivals.queue_url):
        return None
    async with asyncio.TaskGroup() as looks:
        messages = looks.create_task(queue.look_at(lane, url))
        attributes = looks.create_task(queue_attributes.look(lane, url))
    return ArrivalsSeen(messages.result(), attributes.result())


def judge(lane: Examined, seen: ArrivalsSeen) -> Iterator[Finding]:
    """A queue that is not there has no attributes; those of a local one are the service's own."""
    yield _use(lane, seen.queue)
    if not seen.queue.is_missing and not lane.is_local:
        yield from queue_attributes.told(lane.about("arrivals attributes"), seen.attributes, _faults)
        if not isinstance(seen.attributes, AwsError):
            yield _policy(lane, seen.attributes)


def _use(lane: Examined, seen: QueueSeen) -> Finding:
    """Whatever S3 sends is in order, also what tells of nothing new."""
    about, url = lane.about("arrivals"), lane.config.arrivals.queue_url
    if reason := queue.unusable(lane, seen, url, f"lanes.{lane.name}.arrivals.queue_url", POLICY_FILE):
        return fault(about, *reason)
    told = [read_arrivals(text_of(message, "Body")) for message in seen.messages]
    if strange := sum(each.is_foreign or each.fault is not None for each in told):
        said = f"{strange} of the messages in it are no event notifications of S3: somebody else uses the queue too"
        return fault(about, said, f"write a queue of its own in lanes.{lane.name}.arrivals.queue_url")
    return fine(about, "messages can be received and deleted")


def _faults(seen: Attributes) -> Iterator[tuple[str, str]]:
    if seen.fifo_queue:
        yield "it is a FIFO queue, to which S3 does not send", "make a standard queue"
    if seen.message_retention_period < LEAST_RETENTION_SECONDS:
        kept = f"{seen.message_retention_period / 3600:.3g}"
        said = f"messages are kept for {kept} hours: what arrives while no worker runs for longer is never moderated"
        yield said, "set its MessageRetentionPeriod to 1209600"
    if seen.maximum_message_size < LEAST_MESSAGE_BYTES:
        yield "no message may be as long as an event notification", "set its MaximumMessageSize to 262144"
    if seen.kms_master_key_id.endswith(AWS_OWN_KEY):
        said = f"it is encrypted with {AWS_OWN_KEY}, with which S3 cannot send to it"
        yield said, "set its SqsManagedSseEnabled to true, or its KmsMasterKeyId to a key of yours that lets S3 in"


def _policy(lane: Examined, seen: Attributes) -> Finding:
    """Whether anything that tells of objects may send; which bucket or topic it is to be, nobody has said."""
    about, policy = lane.about("arrivals policy"), policy_of(seen.policy or NO_STATEMENT)
    if policy is None:
        return not_checked(about, "it says more than is understood here")
    arn = lane.arn_of_queue(lane.config.arrivals.queue_url)
    requests = [Request("sqs:SendMessage", arn, sender, {"aws:securetransport": "true"}) for sender in SENDERS]
    if any(decide([policy], request) in (Decision.ALLOWED, Decision.OPEN) for request in requests):
        return fine(about, "S3, SNS or EventBridge may send")
    said = "it lets neither S3 nor SNS nor EventBridge send: nothing arrives"
    return fault(about, said, "give the queue deploy/aws/arrivals-queue-policy.json")

"""How queues are set up, and whether the lane's keeps notices as long as it must and lets the topic send."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from worker.aws.notices import PATIENT_RECEIVES
from worker.doctor.examined import Examined, unanswered
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.doctor.policies import Decision, Request, decide, policy_of
from worker.errors import AwsError

MOST_DELAY_SECONDS = 5  # of each notice: so long a job that is finished holds its slot
LEAST_MESSAGE_BYTES = 8_192  # a notice in its envelope is smaller
AWS_OWN_KEY = "alias/aws/sqs"
NO_STATEMENT = '{"Statement": []}'


class _Redrive(Struct, frozen=True, rename="camel"):
    max_receive_count: float = math.inf


class Attributes(Struct, frozen=True, rename="pascal"):
    """Those that count; the queue's own visibility timeout does not, since the worker gives one with each call."""

    message_retention_period: float = math.inf
    delay_seconds: float = 0.0
    maximum_message_size: float = math.inf
    fifo_queue: bool = False
    kms_master_key_id: str = ""
    policy: str = ""
    most_receives: float = math.inf  # of a message, before it goes to the dead-letter queue


async def look(lane: Examined, url: str) -> Attributes | AwsError:
    """Ask for all of a queue's."""
    return await lane.ask("sqs", lambda client: _attributes(client, url))


async def _attributes(client: Any, url: str) -> Attributes:
    answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    told = answer.get("Attributes", {})
    redrive = msgspec.json.decode(told.get("RedrivePolicy") or "{}", type=_Redrive, strict=False)
    return msgspec.convert(told | {"MostReceives": redrive.max_receive_count}, Attributes, strict=False)


def judge(lane: Examined, seen: Attributes | AwsError, results_seconds: float) -> Iterator[Finding]:
    """Results are read within `results_seconds`; who hears of them later hears too late."""
    return told(lane.about("queue attributes"), seen, lambda attributes: _faults(attributes, results_seconds))


def told(
    about: str, seen: Attributes | AwsError, faults_of: Callable[[Attributes], Iterable[tuple[str, str]]]
) -> Iterator[Finding]:
    """The faults that a queue's attributes have, (sentence, remedy) each, or that they have none."""
    if isinstance(seen, AwsError):
        yield unanswered(about, seen, "sqs:GetQueueAttributes")
        return
    faults = [fault(about, *found) for found in faults_of(seen)]
    yield from faults or [fine(about, f"messages are kept for {seen.message_retention_period / 86_400:.3g} days")]


def _faults(seen: Attributes, results_seconds: float) -> Iterator[tuple[str, str]]:
    if seen.fifo_queue:
        yield "it is a FIFO queue, to which no standard topic sends", "make a standard queue"
    if seen.message_retention_period < results_seconds:
        kept, life = (f"{seconds / 86_400:.3g}" for seconds in (seen.message_retention_period, results_seconds))
        said = f"messages are kept for {kept} days and results live for {life}: notices would be lost before them"
        yield said, "set its MessageRetentionPeriod to 1209600"
    if seen.delay_seconds > MOST_DELAY_SECONDS:
        said = f"each message is held back for {seen.delay_seconds:.0f} s, and so long a finished job keeps its slot"
        yield said, "set its DelaySeconds to 0"
    if seen.most_receives <= PATIENT_RECEIVES:
        said = f"what was received {seen.most_receives:.0f} times goes to the dead-letter queue, early notices with it"
        yield said, "set maxReceiveCount in its RedrivePolicy to 10"
    if seen.maximum_message_size < LEAST_MESSAGE_BYTES:
        yield "no message may be as long as a notice", "set its MaximumMessageSize to 262144"
    if seen.kms_master_key_id.endswith(AWS_OWN_KEY):
        said = f"it is encrypted with {AWS_OWN_KEY}, with which no topic can send to it"
        yield said, "set its SqsManagedSseEnabled to true, or its KmsMasterKeyId to a key of yours that lets SNS in"


def judge_policy(lane: Examined, seen: Attributes) -> Finding:
    """Whether the queue lets the topic send."""
    about, topic = lane.about("queue policy"), lane.config.sns_topic_arn
    context = {"aws:sourcearn": topic, "aws:sourceaccount": lane.config.topic_account, "aws:securetransport": "true"}
    request = Request("sqs:SendMessage", lane.queue_arn, "sns.amazonaws.com", context)
    decision = decide([policy_of(seen.policy or NO_STATEMENT)], request)
    if decision is Decision.ALLOWED:
        return fine(about, "the topic may send")
    if decision is Decision.OPEN:
        return not_checked(about, "it says more than is understood here")
    said = f"it does not let the topic {topic} send: notices are lost"
    return fault(about, said, "give the queue deploy/aws/queue-policy.json")

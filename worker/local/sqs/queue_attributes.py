"""Attributes of queues: which there are, what values they may have, and what a redrive policy says.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from worker.local.protocol.refusals import ServiceError
from worker.local.sqs.queue_names import QueueName, name_of_arn
from worker.local.sqs.refusals import bad_attribute, bad_value, unknown_attribute

DEFAULTS = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}
READ_ONLY = (
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
)

_RANGES = {
    "VisibilityTimeout": (0, 43_200),
    "MaximumMessageSize": (1_024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "DelaySeconds": (0, 900),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
_DOCUMENTS = ("RedrivePolicy", "RedriveAllowPolicy", "Policy")
_REMOVABLE = (*_DOCUMENTS, "KmsMasterKeyId")  # an empty value takes them away
_INTEGER = re.compile(r"\d{1,10}")
_RECEIVES = (1, 1_000)
_DEFAULT_RECEIVES = 10
_MOST_ALLOWED_SOURCES = 10

SETTABLE = frozenset({*_RANGES, *_DOCUMENTS, "KmsMasterKeyId", "SqsManagedSseEnabled"})
KNOWN = SETTABLE | set(READ_ONLY)


class Target(msgspec.Struct, frozen=True):
    """What a redrive policy names: a queue, and after how many receives."""

    queue: QueueName
    most_receives: int


def normal(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes, each written in one way only; "" stands for one that is taken away.

    Raises:
        ServiceError: an attribute that no standard queue has, or a value that it cannot have.

    """
    return {name: _normal(name, value) for name, value in attributes.items()}


def target_of(policy: str) -> Target:
    """What a redrive policy says.

    Raises:
        ServiceError: it names no queue, or a number of receives outside 1 to 1,000.

    """
    document = _document("RedrivePolicy", policy)
    if "deadLetterTargetArn" not in document:
        raise refused_policy(policy, "Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
    queue = name_of_arn(str(document["deadLetterTargetArn"]))
    if queue is None:
        raise refused_policy(policy, "Invalid value for deadLetterTargetArn.")
    receives = _integer(document.get("maxReceiveCount", _DEFAULT_RECEIVES))
    least, most = _RECEIVES
    if receives is None or not least <= receives <= most:
        reason = f"Invalid value for maxReceiveCount: {document['maxReceiveCount']}, valid values are from {least} to"
        raise refused_policy(policy, f"{reason} {most} both inclusive.")
    return Target(queue, receives)


def allows(policy: str | None, source_arn: str) -> bool:
    """Whether a dead-letter queue's RedriveAllowPolicy lets the source use it."""
    document = {} if policy is None else msgspec.json.decode(policy)
    permission = document.get("redrivePermission", "allowAll")
    return permission == "allowAll" or (permission == "byQueue" and source_arn in document.get("sourceQueueArns", ()))


def refused_policy(policy: str, reason: str) -> ServiceError:
    """The refusal of a redrive policy."""
    return bad_value("RedrivePolicy", policy, reason)


def _normal(name: str, value: str) -> str:
    if name not in SETTABLE:
        raise unknown_attribute(name)
    if value == "" and name in _REMOVABLE:
        return ""
    if name in _RANGES:
        return _normal_number(name, value)
    if name in _DOCUMENTS:
        return _normal_document(name, value)
    if name == "SqsManagedSseEnabled" and value not in ("true", "false"):
        raise bad_attribute(name)
    return value


def _normal_number(name: str, value: str) -> str:
    number = _integer(value)
    least, most = _RANGES[name]
    if number is None or not least <= number <= most:
        raise bad_attribute(name)
    return str(number)


def _normal_document(name: str, value: str) -> str:
    document = _document(name, value)
    if name == "RedrivePolicy":
        target = target_of(value)
        document = {"deadLetterTargetArn": document["deadLetterTargetArn"], "maxReceiveCount": target.most_receives}
    if name == "RedriveAllowPolicy":
        _check_allowed_sources(document)
    return msgspec.json.encode(document).decode()


def _check_allowed_sources(document: Mapping[str, Any]) -> None:
    sources = document.get("sourceQueueArns", [])
    permission = document.get("redrivePermission")
    if permission not in ("allowAll", "denyAll", "byQueue") or not isinstance(sources, list):
        raise bad_attribute("RedriveAllowPolicy")
    if (permission == "byQueue") != bool(sources) or len(sources) > _MOST_ALLOWED_SOURCES:
        raise bad_attribute("RedriveAllowPolicy")
    if not all(name_of_arn(str(arn)) for arn in sources):
        raise bad_attribute("RedriveAllowPolicy")


def _document(name: str, value: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.DecodeError:
        if name == "RedrivePolicy":
            raise refused_policy(value, "Redrive policy is not a valid JSON map.") from None
        raise bad_attribute(name) from None


def _integer(value: Any) -> int | None:
    return int(str(value)) if _INTEGER.fullmatch(str(value)) else None

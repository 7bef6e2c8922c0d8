"""Messages as their senders give them: what SQS takes, and what it answers.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from worker.local.sqs import message_attributes
from worker.local.sqs.directory import Queue
from worker.local.sqs.queues import NewMessage
from worker.local.sqs.refusals import bad_batch, bad_contents, bad_parameter, bad_value, missing_parameter

_LONGEST_DELAY_SECONDS = 900
_LARGEST_BATCH_BYTES = 1_048_576
_GROUP_ID = re.compile(r"[!-~]{1,128}")
_ALLOWED = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

Request = dict[str, Any]


def new_message(queue: Queue, request: Request) -> NewMessage:
    """The message of a request, or of an entry of one.

    Raises:
        ServiceError: the queue does not take it.

    """
    body = request["MessageBody"]
    if not body:
        raise missing_parameter("MessageBody")
    if not _ALLOWED.fullmatch(body):
        raise bad_contents()
    attributes = message_attributes.checked(request.get("MessageAttributes") or {})
    if _size_bytes(request) > (largest_bytes := queue.number("MaximumMessageSize")):
        raise bad_parameter(
            f"One or more parameters are invalid. Reason: Message must be shorter than {largest_bytes} bytes."
        )
    if (deduplication_id := request.get("MessageDeduplicationId")) is not None:
        reason = "The request include parameter that is not valid for this queue type."
        raise bad_value("MessageDeduplicationId", deduplication_id, reason)
    delay_seconds = within(request, "DelaySeconds", queue.number("DelaySeconds"), _LONGEST_DELAY_SECONDS)
    return NewMessage(body, delay_seconds, _document(attributes), _document(_chosen_by_sender(request)))


def _chosen_by_sender(request: Request) -> dict[str, str]:
    """The system attributes that come with the request."""
    given = request.get("MessageSystemAttributes") or {}
    chosen = {name: str(attribute.get("StringValue") or "") for name, attribute in given.items()}
    types = {attribute["DataType"] for attribute in given.values()}
    if set(chosen) - {"AWSTraceHeader"} or types - {"String"} or "" in chosen.values():
        raise bad_parameter("The only message system attribute is AWSTraceHeader, a String that is not empty.")
    if (group_id := request.get("MessageGroupId")) is not None:
        if not _GROUP_ID.fullmatch(group_id):
            reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length."
            raise bad_value("MessageGroupId", group_id, reason)
        chosen["MessageGroupId"] = group_id
    return chosen


def _size_bytes(request: Request) -> int:
    return len(request["MessageBody"].encode()) + message_attributes.size_bytes(request.get("MessageAttributes") or {})


def receipt_of(request: Request, message_id: str) -> dict[str, str]:
    """What the sender hears of his message."""
    answer = {"MessageId": message_id, "MD5OfMessageBody": md5_of(request["MessageBody"])}
    if attributes := request.get("MessageAttributes"):
        answer["MD5OfMessageAttributes"] = message_attributes.md5_of(attributes)
    if attributes := request.get("MessageSystemAttributes"):
        answer["MD5OfMessageSystemAttributes"] = message_attributes.md5_of(attributes)
    return answer


def check_total(entries: Sequence[Request]) -> None:
    """Refuse a batch whose messages are too long together.

    Raises:
        ServiceError: BatchRequestTooLong.

    """
    total_bytes = sum(_size_bytes(entry) for entry in entries)
    if total_bytes > _LARGEST_BATCH_BYTES:
        message = (
            f"Batch requests cannot be longer than {_LARGEST_BATCH_BYTES} bytes. You have sent {total_bytes} bytes."
        )
        raise bad_batch("BatchRequestTooLong", message)


def within(request: Request, name: str, default: int, most: int) -> int:
    """The number from 0 to `most` that the request names, or the default.

    Raises:
        ServiceError: it is another one.

    """
    value = request.get(name)
    if value is None:
        return default
    if not 0 <= value <= most:
        raise bad_value(name, value, f"Must be >= 0 and <= {most}, if provided.")
    return int(value)


def md5_of(body: str) -> str:
    """The digest of a body."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def _document(content: Mapping[str, Any]) -> str | None:
    return msgspec.json.encode(content).decode() if content else None

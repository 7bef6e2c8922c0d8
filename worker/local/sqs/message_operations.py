"""SQS's operations on messages.

Reference: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError
from worker.local.sqs import message_attributes
from worker.local.sqs.batches import batch_answer, entries_of, sifted
from worker.local.sqs.directory import Directory, Queue
from worker.local.sqs.messages import Change, Message
from worker.local.sqs.outgoing import check_total, md5_of, new_message, receipt_of, within
from worker.local.sqs.queue_attributes import KNOWN
from worker.local.sqs.queues import LONGEST_HIDDEN_SECONDS, Hiding, Queues, Receive
from worker.local.sqs.receipts import number_of
from worker.local.sqs.refusals import (
    bad_handle,
    bad_value,
    missing_parameter,
    not_in_flight,
    of_entry,
    over_limit,
    unknown_attribute,
)

_MOST_MESSAGES = 10
_LONGEST_WAIT_SECONDS = 20
_SENDER_ID = "AIDAMODWORKER"  # of the one user that every account has here
_OF_MESSAGES = {
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
}

Request = dict[str, Any]


class MessageOperations:
    """Answers requests that have been checked against their shapes."""

    def __init__(self, queues: Queues, directory: Directory) -> None:
        self._queues = queues
        self._directory = directory

    async def send(self, caller: Caller, request: Request) -> bytes:
        """SendMessage."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        [message_id] = await self._queues.send(queue.key, [new_message(queue, request)])
        return msgspec.json.encode(receipt_of(request, message_id))

    async def send_batch(self, caller: Caller, request: Request) -> bytes:
        """SendMessageBatch."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        entries = entries_of(request)
        check_total(entries)
        good, failed = sifted(entries, lambda entry: new_message(queue, entry))
        message_ids = await self._queues.send(queue.key, [message for _, message in good])
        sent = [
            {"Id": entry["Id"]} | receipt_of(entry, message_id)
            for (entry, _), message_id in zip(good, message_ids, strict=True)
        ]
        return batch_answer(sent, failed)

    async def receive(self, caller: Caller, request: Request) -> bytes:
        """ReceiveMessage."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        wanted = set(request.get("AttributeNames") or ()) | set(request.get("MessageSystemAttributeNames") or ())
        if unknown := wanted - _OF_MESSAGES - KNOWN:
            raise unknown_attribute(min(unknown))
        taken = await self._queues.receive(_receive(queue, request))
        if taken.is_full:
            raise over_limit()
        names = request.get("MessageAttributeNames") or ()
        received = [_received(message, wanted, names) for message in taken.messages]
        return msgspec.json.encode({"Messages": received} if received else {})

    async def delete(self, caller: Caller, request: Request) -> bytes:
        """DeleteMessage."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        await self._queues.delete(queue.key, [_handle(queue, request)])
        return b"{}"

    async def delete_batch(self, caller: Caller, request: Request) -> bytes:
        """DeleteMessageBatch."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        good, failed = sifted(entries_of(request), lambda entry: _handle(queue, entry))
        await self._queues.delete(queue.key, [handle for _, handle in good])
        return batch_answer([{"Id": entry["Id"]} for entry, _ in good], failed)

    async def change_visibility(self, caller: Caller, request: Request) -> bytes:
        """ChangeMessageVisibility."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        hiding = _hiding(queue, request)
        [change] = await self._queues.change_visibility(queue.key, [hiding])
        if error := _refused(hiding, change):
            raise error
        return b"{}"

    async def change_visibility_batch(self, caller: Caller, request: Request) -> bytes:
        """ChangeMessageVisibilityBatch."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        good, failed = sifted(entries_of(request), lambda entry: _hiding(queue, entry))
        changes = await self._queues.change_visibility(queue.key, [hiding for _, hiding in good])
        done = []
        for (entry, hiding), change in zip(good, changes, strict=True):
            if error := _refused(hiding, change):
                failed.append(of_entry(entry["Id"], error))
            else:
                done.append({"Id": entry["Id"]})
        return batch_answer(done, failed)


def _receive(queue: Queue, request: Request) -> Receive:
    most = request.get("MaxNumberOfMessages")
    if most is not None and not 1 <= most <= _MOST_MESSAGES:
        raise bad_value("MaxNumberOfMessages", most, f"Must be between 1 and {_MOST_MESSAGES}, if provided.")
    return Receive(
        queue=queue.key,
        most=1 if most is None else most,
        wait_seconds=within(
            request, "WaitTimeSeconds", queue.number("ReceiveMessageWaitTimeSeconds"), _LONGEST_WAIT_SECONDS
        ),
        visibility_seconds=within(
            request, "VisibilityTimeout", queue.number("VisibilityTimeout"), LONGEST_HIDDEN_SECONDS
        ),
        retention_seconds=queue.number("MessageRetentionPeriod"),
        redrive=queue.redrive,
    )


def _received(message: Message, wanted: set[str], names: Sequence[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": md5_of(message.body),
    }
    if known := _system_attributes(message, wanted):
        answer["Attributes"] = known
    if attributes := message_attributes.chosen(_content(message.attributes), names):
        answer["MessageAttributes"] = attributes
        answer["MD5OfMessageAttributes"] = message_attributes.md5_of(attributes)
    return answer


def _system_attributes(message: Message, wanted: set[str]) -> dict[str, str]:
    known = {
        "SenderId": _SENDER_ID,
        "SentTimestamp": str(message.sent_at_ms),
        "ApproximateReceiveCount": str(message.receive_count),
        "ApproximateFirstReceiveTimestamp": str(message.first_received_at_ms),
        **_content(message.system_attributes),
    }
    if message.dead_letter_source is not None:
        known["DeadLetterQueueSourceArn"] = message.dead_letter_source
    return known if "All" in wanted else {name: value for name, value in known.items() if name in wanted}


def _handle(queue: Queue, request: Request) -> str:
    handle = str(request["ReceiptHandle"])
    if number_of(queue.key, handle) is None:
        raise bad_handle(handle)
    return handle


def _hiding(queue: Queue, request: Request) -> Hiding:
    if request.get("VisibilityTimeout") is None:
        raise missing_parameter("VisibilityTimeout")
    seconds = within(request, "VisibilityTimeout", 0, LONGEST_HIDDEN_SECONDS)
    return Hiding(_handle(queue, request), seconds)


def _refused(hiding: Hiding, change: Change) -> ServiceError | None:
    if change is Change.NOT_IN_FLIGHT:
        return not_in_flight()
    if change is Change.GONE:
        reason = "Message does not exist or is not available for visibility timeout change."
        return bad_value("ReceiptHandle", hiding.receipt_handle, reason)
    if change is Change.TOO_LONG:
        limit = f"Total VisibilityTimeout for the message is beyond the limit [{LONGEST_HIDDEN_SECONDS} seconds]"
        return bad_value("VisibilityTimeout", hiding.seconds, limit)
    return None


def _content(document: str | None) -> dict[str, Any]:
    return {} if document is None else msgspec.json.decode(document)

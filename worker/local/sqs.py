"""The operations of SQS.

Reference: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from worker.local import messages
from worker.local.channels import Channels, queue_of_url
from worker.local.database import Database
from worker.local.identity import Caller
from worker.local.messages import Change, Message
from worker.local.queues import Queues
from worker.local.refusals import ServiceError

VISIBILITY_SECONDS = 30  # of a queue whose owner did not choose another
RETENTION_SECONDS = 14 * 86_400
_LARGEST_MESSAGE_BYTES = 262_144
_LARGEST_BATCH = 10
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_PREFIX = "AWS.SimpleQueueService."

Request = dict[str, Any]


class Sqs:
    """Answers requests that have been checked against their shapes."""

    def __init__(self, database: Database, queues: Queues, channels: Channels, service_url: str) -> None:
        self._database = database
        self._clock = database.clock
        self._queues = queues
        self._channels = channels
        self._service_url = service_url

    async def receive(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """ReceiveMessage."""
        queue = self._queue(request)
        received = await self._queues.receive(
            queue,
            most=_within(request, "MaxNumberOfMessages", 1, 1, _LARGEST_BATCH),
            wait_seconds=_within(request, "WaitTimeSeconds", 0, 0, 20),
            visibility_seconds=_within(request, "VisibilityTimeout", VISIBILITY_SECONDS, 0, 43_200),
        )
        wanted = set(request.get("AttributeNames") or ()) | set(request.get("MessageSystemAttributeNames") or ())
        answer = {"Messages": [_received(message, wanted) for message in received]} if received else {}
        return msgspec.json.encode(answer)

    async def send(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """SendMessage."""
        queue = self._queue(request)
        body = request["MessageBody"]
        if not 1 <= len(body.encode()) <= _LARGEST_MESSAGE_BYTES:
            raise _invalid("MessageBody", f"Must be 1 to {_LARGEST_MESSAGE_BYTES} bytes long.")
        message_id = await self._queues.send(queue, body, _within(request, "DelaySeconds", 0, 0, 900))
        return msgspec.json.encode({"MessageId": message_id, "MD5OfMessageBody": _md5(body)})

    async def delete(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """DeleteMessage."""
        await self._delete(self._queue(request), request)
        return b"{}"

    async def delete_batch(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """DeleteMessageBatch."""
        return await self._batch(request, self._delete)

    async def change_visibility(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """ChangeMessageVisibility."""
        await self._change_visibility(self._queue(request), request)
        return b"{}"

    async def change_visibility_batch(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """ChangeMessageVisibilityBatch."""
        return await self._batch(request, self._change_visibility)

    async def attributes(self, caller: Caller, request: Request) -> bytes:
        """GetQueueAttributes."""
        queue = self._queue(request)
        account, _, name = queue.partition("/")
        visible, in_flight, delayed = messages.counts(self._database.reader, queue, self._clock.now_ms())
        known = {
            "QueueArn": f"arn:aws:sqs:{caller.region}:{account}:{name}",
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
            "VisibilityTimeout": str(VISIBILITY_SECONDS),
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "MaximumMessageSize": str(_LARGEST_MESSAGE_BYTES),
            "DelaySeconds": "0",
            "ReceiveMessageWaitTimeSeconds": "0",
        }
        wanted = set(request.get("AttributeNames") or ())
        chosen = {name: value for name, value in known.items() if name in wanted or "All" in wanted}
        return msgspec.json.encode({"Attributes": chosen} if chosen else {})

    async def url(self, caller: Caller, request: Request) -> bytes:
        """GetQueueUrl."""
        queue = f"{request.get('QueueOwnerAWSAccountId') or caller.account}/{request['QueueName']}"
        self._require(queue)
        return msgspec.json.encode({"QueueUrl": f"{self._service_url}/{queue}"})

    async def purge(self, caller: Caller, request: Request) -> bytes:  # noqa: ARG002 (every operation gets both)
        """PurgeQueue."""
        queue = self._queue(request)
        await self._database.write(lambda connection: messages.purge(connection, queue))
        return b"{}"

    async def _delete(self, queue: str, entry: Request) -> None:
        handle = entry["ReceiptHandle"]
        if not await self._database.write(lambda connection: messages.delete(connection, queue, handle)):
            raise _invalid_handle(handle)

    async def _change_visibility(self, queue: str, entry: Request) -> None:
        handle = entry["ReceiptHandle"]
        visibility_seconds = _within(entry, "VisibilityTimeout", VISIBILITY_SECONDS, 0, 43_200)
        change = await self._database.write(
            lambda connection: messages.change_visibility(
                connection, queue, handle, self._clock.now_ms(), self._clock.after(visibility_seconds)
            )
        )
        if change is Change.UNREADABLE_HANDLE:
            raise _invalid_handle(handle)
        if change is Change.NOT_IN_FLIGHT:
            raise ServiceError(
                "MessageNotInflight",
                "The message referred to isn't in flight.",
                query_code=_PREFIX + "MessageNotInflight",
            )
        self._queues.announce(queue)

    async def _batch(self, request: Request, act: Callable[[str, Request], Awaitable[None]]) -> bytes:
        """Act on each entry by itself: some may fail while the others succeed."""
        queue = self._queue(request)
        successful, failed = [], []
        for entry in _distinct_entries(request):
            try:
                await act(queue, entry)
            except ServiceError as error:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": error.code, "Message": error.message})
            else:
                successful.append({"Id": entry["Id"]})
        answer = {"Successful": successful, "Failed": failed}
        return msgspec.json.encode({name: entries for name, entries in answer.items() if entries})

    def _queue(self, request: Request) -> str:
        queue = queue_of_url(request["QueueUrl"])
        self._require(queue)
        return str(queue)

    def _require(self, queue: str | None) -> None:
        if queue is None or not self._channels.has_queue(queue):
            raise ServiceError(
                "QueueDoesNotExist", "The specified queue does not exist.", query_code=_PREFIX + "NonExistentQueue"
            )


def _received(message: Message, wanted: set[str]) -> dict[str, Any]:
    known = {
        "ApproximateReceiveCount": str(message.receive_count),
        "ApproximateFirstReceiveTimestamp": str(message.first_received_at_ms),
        "SentTimestamp": str(message.sent_at_ms),
        "SenderId": "AIDAMODWORKER",
    }
    answer: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
    }
    if attributes := {name: value for name, value in known.items() if name in wanted or "All" in wanted}:
        answer["Attributes"] = attributes
    return answer


def _distinct_entries(request: Request) -> list[Request]:
    entries: list[Request] = request["Entries"]
    ids = [entry["Id"] for entry in entries]
    if not entries:
        raise _batch_error("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _LARGEST_BATCH:
        raise _batch_error(
            "TooManyEntriesInBatchRequest", f"Maximum number of entries per request are {_LARGEST_BATCH}."
        )
    if not all(_ENTRY_ID.fullmatch(entry_id) for entry_id in ids):
        raise _batch_error(
            "InvalidBatchEntryId", "A batch entry id can only contain letters, digits, hyphens and underscores."
        )
    if len(set(ids)) != len(ids):
        raise _batch_error("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    return entries


def _batch_error(code: str, message: str) -> ServiceError:
    return ServiceError(code, message, query_code=_PREFIX + code)


def _within(request: Request, name: str, default: int, least: int, most: int) -> int:
    value = request.get(name)
    if value is None:
        return default
    if not least <= value <= most:
        raise _invalid(name, f"Must be between {least} and {most}.")
    return int(value)


def _invalid(name: str, reason: str) -> ServiceError:
    message = f"Value for parameter {name} is invalid. Reason: {reason}"
    return ServiceError("InvalidParameterValueException", message, query_code="InvalidParameterValue")


def _invalid_handle(handle: str) -> ServiceError:
    return ServiceError(
        "ReceiptHandleIsInvalid",
        f'The input receipt handle "{handle}" is not a valid receipt handle.',
        query_code="ReceiptHandleIsInvalid",
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

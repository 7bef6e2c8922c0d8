"""Completion messages from a lane's queue: in an SNS envelope or raw, in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from worker.aws.answers import translated
from worker.aws.posts import Posts
from worker.aws.rekognition import JOB_ID
from worker.aws.requests import Requests
from worker.log import redacted
from worker.model import Notice

RECEIVE = "ReceiveMessage"
DELETE = "DeleteMessageBatch"
LEAVE = "ChangeMessageVisibilityBatch"
BATCH = 10  # the most messages that one SQS call takes
POLL_SECONDS = 20  # the longest long poll
VISIBILITY_SECONDS = 30  # a message that was received and not deleted comes back after this
SOON_SECONDS = 2  # a job may be finished before its JobId is recorded here
LATER_SECONDS = 900
PATIENT_RECEIVES = 4  # after so many a JobId is not expected to become known


class Unreadable(Struct, frozen=True):
    """A message that is not JSON of any known form; its body without secrets, since it is kept."""

    message_id: str
    receipt_handle: str
    body: str
    reason: str


class Foreign(Struct, frozen=True):
    """A readable message that is not about content moderation."""

    message_id: str


class _Body(Struct, frozen=True, rename="pascal"):
    type: str | None = None
    message: str | None = None
    job_id: str | None = None
    API: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def read_message(message: dict[str, Any]) -> Notice | Foreign | Unreadable:
    """Tell what an SQS message is; unknown members are ignored, since AWS's own examples differ in them.

    An envelope is opened once, and nothing that a message points to is ever fetched.
    """
    message_id, receipt_handle, text = (text_of(message, name) for name in ("MessageId", "ReceiptHandle", "Body"))
    try:
        body = _decode(text)
        if body.job_id is None and body.message is not None and body.type in (None, "Notification"):
            body = _decode(body.message)
    except (ValueError, RecursionError) as error:  # also of text that is not Unicode
        return Unreadable(message_id, receipt_handle, redacted(text), str(error))
    if not body.job_id:
        return Foreign(message_id)
    if not JOB_ID.fullmatch(body.job_id):
        return Unreadable(message_id, receipt_handle, redacted(text), "its JobId is none that Rekognition gives")
    return Notice(body.job_id, receipt_handle, _receives(message))


def text_of(message: dict[str, Any], name: str) -> str:
    """A member of a message as botocore gives it; "" where it is none, or no text."""
    value = message.get(name)
    return value if isinstance(value, str) else ""


def _receives(message: dict[str, Any]) -> int:
    """How often the message was received, as far as SQS can tell."""
    try:
        return int(message["Attributes"]["ApproximateReceiveCount"])
    except (KeyError, TypeError, ValueError):
        return 1


class _Answer(Struct, frozen=True, rename="pascal"):
    messages: list[Any] | None = None  # of ReceiveMessage
    failed: list[Any] | None = None  # of the others


class Queue:
    """A queue, over one lane's account."""

    def __init__(self, requests: Requests, url: str) -> None:
        self._posts = Posts(requests)
        self.url = url

    async def receive(self) -> list[dict[str, Any]]:
        """Wait for messages, at most the longest long poll."""
        answer = await self._ask(
            RECEIVE,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=POLL_SECONDS,
            VisibilityTimeout=VISIBILITY_SECONDS,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [message for message in answer.messages or [] if isinstance(message, dict)]

    async def delete(self, receipt_handles: Sequence[str]) -> int:
        """Delete messages; returns how many could not be, which come back and are deleted then."""
        answers = [await self._ask(DELETE, Entries=entries) for entries in _batches(receipt_handles)]
        return sum(len(answer.failed or []) for answer in answers)

    async def leave(self, receipt_handles: Sequence[str], seconds: int) -> None:
        """Let messages come back after a while."""
        for entries in _batches(receipt_handles):
            await self._ask(LEAVE, Entries=[entry | {"VisibilityTimeout": seconds} for entry in entries])

    async def _ask(self, operation: str, **request: Any) -> _Answer:
        """Ask with the standard library's JSON, to which half a character in one message is no reason to read none."""
        with translated():
            body = json.dumps({"QueueUrl": self.url, **request}).encode()
            return msgspec.convert(json.loads(await self._posts.send(operation, body) or b"{}"), _Answer)


def _batches(receipt_handles: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Entries for one call each; a message that came without a handle cannot be named."""
    handles = [handle for handle in receipt_handles if handle]
    for start in range(0, len(handles), BATCH):
        yield [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles[start : start + BATCH])]

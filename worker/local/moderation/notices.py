"""Completion notices: what a topic's subscriber hears when a job has ended.

Payload: https://docs.aws.amazon.com/rekognition/latest/dg/video-notification-payload.html
"""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from worker.local.faults.faults import Faults
from worker.local.faults.plan import Doubled, Foreign, Late, Lost, Unreadable
from worker.local.sqs import messages
from worker.local.sqs.channels import Channels
from worker.local.state.jobs import Ending, Job

log = structlog.get_logger()


class _Delivery(msgspec.Struct, frozen=True):
    """One message: what the topic is told, and when."""

    body: str
    due_at_ms: int


class Notices:
    """Files a notice in the transaction that ends its job: both happen or neither does."""

    def __init__(self, channels: Channels, faults: Faults, *, to_sns: bool) -> None:
        self._channels = channels
        self._faults = faults
        self._to_sns = to_sns

    def file(self, connection: sqlite3.Connection, job: Job, ending: Ending) -> str | None:
        """Put the notice where it is to go; gives the queue that has a new message, if one has."""
        if job.topic_arn is None:
            return None
        deliveries = list(self._deliveries(job, ending))
        if self._to_sns:
            connection.executemany(
                "INSERT INTO publication (topic_arn, body, due_at_ms) VALUES (?, ?, ?)",
                [(job.topic_arn, delivery.body, delivery.due_at_ms) for delivery in deliveries],
            )
            return None
        queue = self._channels.queue_of_topic(connection, job.topic_arn)
        if queue is None:
            log.warning("notice_without_subscriber", topic_arn=job.topic_arn, aws_job_id=job.job_id)
            return None
        for delivery in deliveries:
            envelope = _envelope(job.topic_arn, delivery)
            messages.put(connection, queue, envelope, ending.ended_at_ms, delivery.due_at_ms)
        return queue

    def _deliveries(self, job: Job, ending: Ending) -> Iterator[_Delivery]:
        """The one message that a notice is, or what the faults make of it."""
        faults = {type(fault): fault for fault in self._faults.of_notice(job)}
        body, due_at_ms, copies = _payload(job, ending), ending.ended_at_ms, 1
        if Foreign in faults:
            yield _Delivery(_foreign(job, ending), due_at_ms)
        if Lost in faults:
            return
        if Unreadable in faults:
            body = body[: len(body) // 2]
        if isinstance(late := faults.get(Late), Late):
            due_at_ms += round(late.seconds * 1000)
        if isinstance(doubled := faults.get(Doubled), Doubled):
            copies = doubled.copies
        for _ in range(copies):
            yield _Delivery(body, due_at_ms)


def _payload(job: Job, ending: Ending) -> str:
    payload: dict[str, Any] = {
        "JobId": job.job_id,
        "Status": ending.told_as or ending.status,
        "API": "StartContentModeration",
        "Timestamp": ending.ended_at_ms,
        "Video": {"S3ObjectName": job.key, "S3Bucket": job.bucket},
    }
    if job.tag is not None:
        payload["JobTag"] = job.tag
    return msgspec.json.encode(payload).decode()


def _foreign(job: Job, ending: Ending) -> str:
    """The notice of a job of another operation, as somebody else's in the same account would send it."""
    payload = {
        "JobId": secrets.token_hex(32),
        "Status": "SUCCEEDED",
        "API": "StartLabelDetection",
        "Timestamp": ending.ended_at_ms,
        "Video": {"S3ObjectName": "somebody-else.mp4", "S3Bucket": job.bucket},
    }
    return msgspec.json.encode(payload).decode()


def _envelope(topic_arn: str, delivery: _Delivery) -> str:
    """The notice as SNS delivers it to a queue that did not ask for raw messages; it is not signed."""
    sent_at = datetime.fromtimestamp(delivery.due_at_ms / 1000, UTC)
    envelope = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic_arn,
        "Message": delivery.body,
        "Timestamp": sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return msgspec.json.encode(envelope).decode()

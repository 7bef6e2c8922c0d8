"""Completion notices: what a topic's subscriber hears when a job has ended.

Payload: https://docs.aws.amazon.com/rekognition/latest/dg/video-notification-payload.html
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog

from worker.local.faults.faults import Faults
from worker.local.faults.plan import Doubled, Foreign, Late, Lost, Unreadable
from worker.local.moderation.envelope import envelope_of
from worker.local.sqs import messages
from worker.local.sqs.channels import Channels
from worker.local.state.jobs import Ending, Job

log = structlog.get_logger()


class _Delivery(msgspec.Struct, frozen=True):
    """One message: what the topic is told, and when."""

    body: str
    due_at_ms: int


class Notices:
    """Files a notice in the transaction that ends its job: both happen or neither does.

    What is for another SNS, or late, is filed as a publication; all else goes straight into the queue.
    """

    def __init__(self, channels: Channels, faults: Faults, *, to_sns: bool) -> None:
        self._channels = channels
        self._faults = faults
        self._to_sns = to_sns

    def file(self, connection: sqlite3.Connection, job: Job, ending: Ending) -> str | None:
        """Put the notice where it is to go; gives the queue that has a new message, if one has."""
        if job.topic_arn is None:
            return None
        deliveries = list(self._deliveries(job, ending))
        later = [each for each in deliveries if self._to_sns or each.due_at_ms > ending.ended_at_ms]
        connection.executemany(
            "INSERT INTO publication (topic_arn, body, due_at_ms) VALUES (?, ?, ?)",
            [(job.topic_arn, delivery.body, delivery.due_at_ms) for delivery in later],
        )
        if len(later) == len(deliveries):
            return None
        queue = self._channels.queue_of_topic(connection, job.topic_arn)
        if queue is None:
            log.warning("notice_without_subscriber", topic_arn=job.topic_arn, aws_job_id=job.job_id)
            return None
        for delivery in deliveries:
            if delivery not in later:
                envelope = envelope_of(job.topic_arn, delivery.body, delivery.due_at_ms)
                messages.put(connection, queue, envelope, ending.ended_at_ms, delivery.due_at_ms)
        return queue

    def _deliveries(self, job: Job, ending: Ending) -> Iterator[_Delivery]:
        """The one message that a notice is, or what the faults make of it."""
        body, due_at_ms, copies, is_lost = _payload(job, ending), ending.ended_at_ms, 0, False
        for fault in self._faults.of_notice(job):
            match fault:
                case Foreign():
                    yield _Delivery(_foreign(job, ending), ending.ended_at_ms)
                case Lost():
                    is_lost = True
                case Unreadable():
                    body = body[: len(body) // 2]
                case Late():
                    due_at_ms += round(fault.seconds * 1000)
                case Doubled():
                    copies += fault.copies
        if not is_lost:
            yield from [_Delivery(body, due_at_ms)] * max(1, copies)


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

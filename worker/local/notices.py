"""Completion notices: what a topic's subscriber hears when a job has ended.

Payload: https://docs.aws.amazon.com/rekognition/latest/dg/video-notification-payload.html
"""

from __future__ import annotations

import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from worker.local import messages
from worker.local.channels import Channels
from worker.local.jobs import Ending, Job

log = structlog.get_logger()


class Notices:
    """Files a notice in the transaction that ends its job: both happen or neither does."""

    def __init__(self, channels: Channels, *, to_sns: bool) -> None:
        self._channels = channels
        self._to_sns = to_sns

    def file(self, connection: sqlite3.Connection, job: Job, ending: Ending) -> str | None:
        """Put the notice where it is to go; gives the queue that has a new message, if one has."""
        if job.topic_arn is None:
            return None
        body = _payload(job, ending)
        if self._to_sns:
            connection.execute("INSERT INTO publication (topic_arn, body) VALUES (?, ?)", (job.topic_arn, body))
            return None
        queue = self._channels.queue_of_topic(job.topic_arn)
        if queue is None:
            log.warning("notice_without_subscriber", topic_arn=job.topic_arn, aws_job_id=job.job_id)
            return None
        envelope = _envelope(job.topic_arn, body, ending.ended_at_ms)
        messages.put(connection, queue, envelope, ending.ended_at_ms, ending.ended_at_ms)
        return queue


def _payload(job: Job, ending: Ending) -> str:
    payload: dict[str, Any] = {
        "JobId": job.job_id,
        "Status": ending.status,
        "API": "StartContentModeration",
        "Timestamp": ending.ended_at_ms,
        "Video": {"S3ObjectName": job.key, "S3Bucket": job.bucket},
    }
    if job.tag is not None:
        payload["JobTag"] = job.tag
    return msgspec.json.encode(payload).decode()


def _envelope(topic_arn: str, body: str, sent_at_ms: int) -> str:
    """The notice as SNS delivers it to a queue that did not ask for raw messages; it is not signed."""
    sent_at = datetime.fromtimestamp(sent_at_ms / 1000, UTC)
    envelope = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic_arn,
        "Message": body,
        "Timestamp": sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return msgspec.json.encode(envelope).decode()

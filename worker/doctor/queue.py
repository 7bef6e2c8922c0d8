"""Queues: whether they may be used, and whether the lane's is the lane's own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from msgspec import Struct, structs

from worker.aws.notices import BATCH, PATIENT_RECEIVES, Queue, read_message
from worker.aws.session import endpoint_of
from worker.doctor.examined import Examined, is_denied
from worker.doctor.findings import Finding, fault, fine
from worker.errors import AwsError
from worker.model import Notice

_MADE_UP_HANDLE = "modworker-doctor"
_MISSING = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})

Messages = list[dict[str, Any]]


class QueueSeen(Struct, frozen=True):
    """How each of the worker's calls ended."""

    received: Messages | AwsError
    deleted: int | AwsError
    left: AwsError | None = None

    @property
    def messages(self) -> Messages:
        """What lies in the queue, ten at most."""
        return [] if isinstance(self.received, AwsError) else self.received

    @property
    def refusals(self) -> dict[str, AwsError]:
        """Action of the worker -> the error that its call ended in."""
        calls = {"ReceiveMessage": self.received, "DeleteMessage": self.deleted, "ChangeMessageVisibility": self.left}
        return {f"sqs:{name}": seen for name, seen in calls.items() if isinstance(seen, AwsError)}

    @property
    def is_missing(self) -> bool:
        """Whether there is no such queue."""
        return any(error.code in _MISSING for error in self.refusals.values())


async def look(lane: Examined) -> QueueSeen:
    """As `look_at`, and put off what was never sent."""
    url = lane.config.queue_url
    left = await lane.ask_as_worker("sqs", lambda sqs: Queue(sqs, url).leave([_MADE_UP_HANDLE], 0))
    return structs.replace(await look_at(lane, url), left=left)


async def look_at(lane: Examined, url: str) -> QueueSeen:
    """Receive what is there, which everybody else sees at once again; delete what was never sent."""
    async with asyncio.TaskGroup() as calls:
        received = calls.create_task(lane.ask("sqs", lambda client: _receive(client, url)))
        deleted = calls.create_task(lane.ask_as_worker("sqs", lambda sqs: Queue(sqs, url).delete([_MADE_UP_HANDLE])))
    return QueueSeen(received.result(), deleted.result())


async def _receive(client: Any, url: str) -> Messages:
    answer = await client.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=BATCH,
        WaitTimeSeconds=0,
        VisibilityTimeout=0,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    return list(answer.get("Messages", []))


def judge(lane: Examined, seen: QueueSeen, known: Collection[str]) -> Iterator[Finding]:
    """`known` are the JobIds in the queue that are of this lane's jobs."""
    about = lane.about("queue")
    if reason := unusable(lane, seen, lane.config.queue_url, f"lanes.{lane.name}.queue_url", "worker-policy.json"):
        yield fault(about, *reason)
    elif strange := sum(_is_strange(message, known) for message in seen.messages):
        said = f"{strange} of the messages in it are no notices of this lane's jobs: somebody else uses the queue too"
        yield fault(about, said, f"write a queue of the lane's own in lanes.{lane.name}.queue_url")
    else:
        yield fine(about, "messages can be received, deleted and put off")


def unusable(lane: Examined, seen: QueueSeen, url: str, key: str, policy_file: str) -> tuple[str, str] | None:
    """Why the worker could not use a queue, and what mends it; `key` is that of its URL in the config file."""
    if seen.is_missing:
        return f"there is no queue {url}", f"make it, or write the URL of another in {key}"
    if denied := {action: error for action, error in seen.refusals.items() if is_denied(error)}:
        actions = " and ".join(denied)
        said = f"{actions} not allowed ({next(iter(denied.values()))})"
        return said, f"allow {actions} on the queue (deploy/aws/{policy_file})"
    if error := next(iter(seen.refusals.values()), None):
        where = endpoint_of(lane.config, "sqs") or url
        return (
            f"{where} does not answer as a queue does ({error})",
            "check queue_url, network, and the lane's endpoints",
        )
    return None


def named_jobs(messages: Sequence[dict[str, Any]]) -> list[str]:
    """The JobIds that messages are about."""
    return [found.aws_job_id for found in map(read_message, messages) if isinstance(found, Notice)]


def _is_strange(message: dict[str, Any], known: Collection[str]) -> bool:
    """Of somebody else; a notice of an unknown job is so once the worker would have lost patience with it."""
    found = read_message(message)
    if isinstance(found, Notice):
        return found.aws_job_id not in known and found.receive_count > PATIENT_RECEIVES
    return True

"""A lane's way with any queue: long polls, again and again, putting aside what nobody can read, and deleting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import structlog

from worker.aws.notices import BATCH, DELETE, RECEIVE, Queue
from worker.errors import PASSING, AwsError, Verdict
from worker.flow.denial import Denial
from worker.lane import Lane
from worker.store.jobs import Jobs

PAUSE_SECONDS = 2.0
OTHERS_SECONDS = 0.05  # that one of several pollers leaves to each of the others

log = structlog.get_logger()


async def received(
    lane: Lane, queue: Queue, denial: Denial, *, pollers: int = 1
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Messages as they come, ten at most, none after a poll that was refused; without end.

    One of several `pollers` rests after messages that were few, the longer the fewer they were: a poll for each message
    of a fast lane would cost more than all that is done about it. Few need not be all (SQS's manual, "Short and long
    polling").

    Raises:
        LaneLost: if the lease is over.

    """
    while True:
        await lane.permission(RECEIVE)
        await denial.wait(RECEIVE, as_long_as=lambda: lane.is_held)
        try:
            async with lane.unpaced_call(RECEIVE):
                messages = await queue.receive()
        except AwsError as error:
            await _rest(lane, queue, denial, error)
            if error.verdict in PASSING:
                continue
            yield []
        else:
            denial.end(RECEIVE)
            yield messages
            await anyio.sleep((pollers - 1) * OTHERS_SECONDS * max(0.0, 1 - len(messages) / BATCH))


async def _rest(lane: Lane, queue: Queue, denial: Denial, error: AwsError) -> None:
    """Wait after a poll that failed; where the queue is denied, one poller in a while tries it."""
    is_new = error.verdict is not Verdict.STOP_LANE or denial.begin(str(error), RECEIVE)
    if is_new:
        log.warning("queue not readable", lane=lane.name, queue=queue.url, reason=str(error))
    await anyio.sleep(PAUSE_SECONDS)


async def put_aside(lane: Lane, jobs: Jobs, message_id: str, body: str, reason: str) -> None:
    """Keep an unreadable message for the operator; what comes when there is no room for it is told, and no more."""
    about = {"lane": lane.name, "message": message_id, "reason": reason}
    if await jobs.quarantine(lane.id, message_id, body, reason):
        log.warning("unreadable message put aside", **about)
    else:
        log.error("unreadable message lost", **about)


async def delete(lane: Lane, queue: Queue, receipt_handles: Sequence[str]) -> None:
    """Delete messages; one that stays comes back and is deleted then."""
    if receipt_handles:
        try:
            async with lane.unpaced_call(DELETE):
                await queue.delete(receipt_handles)
        except AwsError as error:
            log.info("messages not deleted", lane=lane.name, messages=len(receipt_handles), reason=str(error))

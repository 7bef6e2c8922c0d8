"""Hears which jobs are finished, and finds those whose notice is overdue. A notice is a hint: the page is the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import anyio
import structlog
from anyio.abc import ObjectSendStream
from anyio.streams.memory import MemoryObjectReceiveStream

from worker.aws.notices import (
    LATER_SECONDS,
    LEAVE,
    PATIENT_RECEIVES,
    SOON_SECONDS,
    Foreign,
    Unreadable,
    read_message,
)
from worker.errors import AwsError
from worker.flow.batch import batches
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Notice
from worker.pipeline.polling import delete, put_aside, received
from worker.store.jobs import Jobs

MARKS_AT_ONCE = 100
MARKS_APART_SECONDS = 0.05
RECORDING_SECONDS = 0.2  # that the JobId of a job which was finished at once may take to be recorded
OVERDUE_AT_ONCE = 500
LATELY_SECONDS = 10.0  # before which nobody was overdue at the last looks: under an old snapshot many dead rows are
WHOLE_LOOK_SECONDS = 60.0  # between looks at whatever may have been missed

log = structlog.get_logger()


async def poll(lane: Lane, jobs: Jobs, notices: ObjectSendStream[Notice], stop: Stop, pollers: int) -> None:
    """Long-poll the lane's queue until the stop, as one of so many."""
    async with notices:
        with stop.taking():
            async with aclosing(received(lane, lane.queue, lane.queue_denial, pollers=pollers)) as batches_of_messages:
                async for messages in batches_of_messages:
                    await _tell_apart(lane, jobs, notices, messages)


async def _tell_apart(
    lane: Lane, jobs: Jobs, notices: ObjectSendStream[Notice], messages: Sequence[dict[str, Any]]
) -> None:
    for message in messages:
        match read_message(message):
            case Notice() as notice:
                await notices.send(notice)
            case Foreign(message_id):
                lane.metrics.noticed(lane.name, "foreign")
                log.info("foreign message left", lane=lane.name, message=message_id)
            case Unreadable() as unreadable:
                await _put_aside(lane, jobs, unreadable)


async def _put_aside(lane: Lane, jobs: Jobs, message: Unreadable) -> None:
    lane.metrics.noticed(lane.name, "unreadable")
    await put_aside(lane, jobs, message.message_id, message.body, message.reason)
    await delete(lane, lane.queue, [message.receipt_handle])


async def mark(lane: Lane, jobs: Jobs, notices: MemoryObjectReceiveStream[Notice]) -> None:
    """Make the named jobs ready, many in one statement; messages are deleted after the commit."""
    async with notices:
        async for batch in batches(notices, size=MARKS_AT_ONCE, apart_seconds=MARKS_APART_SECONDS):
            unknown = await _mark(lane, jobs, batch)
            if any(notice.receive_count == 1 for notice in unknown):
                await anyio.sleep(RECORDING_SECONDS)
                unknown = await _mark(lane, jobs, unknown)
            lane.metrics.noticed(lane.name, "unknown", len(unknown))
            await _leave(lane, [n for n in unknown if n.receive_count < PATIENT_RECEIVES], SOON_SECONDS)
            await _leave(lane, [n for n in unknown if n.receive_count >= PATIENT_RECEIVES], LATER_SECONDS)


async def _mark(lane: Lane, jobs: Jobs, notices: list[Notice]) -> list[Notice]:
    """Mark what is known here and delete its messages; returns the notices of unknown JobIds."""
    marked = await jobs.mark_finished(lane.id, notices)
    for job_id in marked.job_ids:
        lane.slots.give_back(job_id)
    if marked.job_ids:
        lane.pages_ready.add(marked.job_ids)
    known = [notice for notice in notices if notice.aws_job_id in marked.known]
    lane.metrics.noticed(lane.name, "marked", len(marked.job_ids))
    lane.metrics.noticed(lane.name, "repeated", len(known) - len(marked.job_ids))
    await delete(lane, lane.queue, [notice.receipt_handle for notice in known])
    return [notice for notice in notices if notice.aws_job_id not in marked.known]


async def _leave(lane: Lane, notices: list[Notice], seconds: int) -> None:
    """Let notices come back; a JobId that stays unknown is no business of this lane, or is found by its due time."""
    if notices:
        try:
            async with lane.unpaced_call(LEAVE):
                await lane.queue.leave([notice.receipt_handle for notice in notices], seconds)
        except AwsError as error:
            log.info("messages not put off", lane=lane.name, messages=len(notices), reason=str(error))


class Overdue:
    """Finds the jobs whose notice is late. Fetch asks, and puts those back that are still in progress."""

    def __init__(self, lane: Lane, jobs: Jobs) -> None:
        self._lane = lane
        self._jobs = jobs
        self._whole_look_at = -math.inf

    async def look(self) -> None:
        """Make overdue jobs ready: those whose time has just come, and at the first look and now and then all."""
        is_whole = anyio.current_time() >= self._whole_look_at
        overdue = await self._jobs.mark_overdue(
            self._lane.id, OVERDUE_AT_ONCE, within_seconds=None if is_whole else LATELY_SECONDS
        )
        if len(overdue) == OVERDUE_AT_ONCE:
            self._whole_look_at = -math.inf  # there may be more
        elif is_whole:
            self._whole_look_at = anyio.current_time() + WHOLE_LOOK_SECONDS
        if overdue:
            self._lane.metrics.overdue(self._lane.name, "found", len(overdue))
            self._lane.pages_ready.add(overdue)

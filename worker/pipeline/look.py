"""HEAD with patience: tells a lane that is denied from an object that is."""

from __future__ import annotations

import anyio

from worker.aws.heads import HEAD
from worker.errors import AwsError, UnreadableError, Verdict
from worker.lane import Lane
from worker.model import Object, ResolvedObject

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
UNREADABLE_ANSWERS = 5  # on one object, before it is left alone


async def patient_head(lane: Lane, named: Object) -> ResolvedObject:
    """HEAD until it says something of the object.

    Raises:
        AwsError: VIDEO_REJECTED, JOB_FAILED, or an UnreadableError, only.

    """
    pause, unreadable = FIRST_PAUSE_SECONDS, 0
    while True:
        await lane.permission(HEAD)
        try:
            await _probe_if_denied(lane, named.bucket)
            found = await _head(lane, named)
        except AwsError as error:
            unreadable += isinstance(error, UnreadableError)
            if error.verdict in (Verdict.VIDEO_REJECTED, Verdict.JOB_FAILED) or unreadable >= UNREADABLE_ANSWERS:
                lane.allow(HEAD)
                raise
            if error.verdict is Verdict.STOP_LANE:
                await _blame(lane, named, error)
        else:
            lane.allow(HEAD)
            lane.readable[named.bucket] = named
            return found
        await anyio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _probe_if_denied(lane: Lane, bucket: str) -> None:
    """Ask for what was readable before: so it is the account that is tried, and no other object takes the blame."""
    known = lane.readable.get(bucket)
    if lane.denial.reason is None or known is None:
        return
    try:
        await _head(lane, known)
    except AwsError as error:
        if error.verdict is not Verdict.VIDEO_REJECTED:  # gone by now, and looked for all the same
            raise
    lane.allow(HEAD)


async def _head(lane: Lane, named: Object) -> ResolvedObject:
    async with lane.unpaced_call(HEAD):
        return await lane.objects.head(named)


async def _blame(lane: Lane, named: Object, error: AwsError) -> None:
    """Deny the lane, unless another object of the bucket can be read at the same moment, and this one still cannot.

    S3 answers 403 for an object that does not exist to whoever may not list the bucket.

    Raises:
        AwsError: VIDEO_REJECTED, if the object is to blame.

    """
    known = lane.readable.get(named.bucket)
    is_other = lane.denial.reason is None and known is not None and known.key != named.key
    if known is None or not is_other or await _refusal(lane, known):
        lane.deny(f"s3://{named.bucket}/{named.key} cannot be read: {error}", HEAD)
        return
    again = await _refusal(lane, named)  # what it was refused for may be over, as it is for the other
    if again and again.verdict is Verdict.STOP_LANE:
        raise AwsError(Verdict.VIDEO_REJECTED, again.code, again.message)


async def _refusal(lane: Lane, named: Object) -> AwsError | None:
    try:
        await _head(lane, named)
    except AwsError as error:
        return error
    return None

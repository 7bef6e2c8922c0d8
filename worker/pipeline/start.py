"""From committed intents to running jobs: Start until AWS has said yes or no, then record the JobId."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import asyncpg
import structlog
from anyio.abc import ObjectSendStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct
from msgspec.structs import replace

from worker.aws.rekognition import START, announced_limit
from worker.errors import NOT_THE_JOBS, AwsError, Verdict
from worker.flow.batch import batches
from worker.flow.stop import Stop
from worker.flow.stream import items_of
from worker.lane import Lane
from worker.model import Failure, Job, Object
from worker.pipeline.look import patient_head
from worker.pipeline.refusals import rejected_at_start
from worker.store.jobs import Jobs, Started

CONFIRMS_AT_ONCE = 100
CONFIRMS_APART_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
HIDDEN = "InvalidS3ObjectException"
MOST_TRIES = 3  # of a Start whose object Rekognition cannot get and S3 can

log = structlog.get_logger()


class Starter:
    """Starts jobs as slots and pace allow; an answer under way is recorded whatever happens."""

    def __init__(self, lane: Lane, jobs: Jobs, started: ObjectSendStream[Started], stop: Stop) -> None:
        self._lane = lane
        self._jobs = jobs
        self._started = started
        self._stop = stop

    async def run(self, inherited: Sequence[Job], intents: MemoryObjectReceiveStream[Job]) -> None:
        """Replay what was inherited, then start what the claims bring; after the stop only finish calls under way."""
        async with intents, self._started, anyio.create_task_group() as calls:
            with self._stop.taking():
                for job in inherited:
                    await self._launch(job, calls)
                async for job in items_of(intents):
                    await self._launch(job, calls)

    async def _launch(self, job: Job, calls: TaskGroup) -> None:
        """Start it when it may be: until then jobs wait in the order of their claims, and few are claimed ahead."""
        await self._lane.slots.take(job.id)
        await self._lane.turn(START)
        calls.start_soon(self._start, job)

    async def _start(self, job: Job) -> None:
        """Call, as it is its turn, until AWS has said yes or no; at the stop the intent stays for the next owner."""
        attempt, is_due = _Attempt(job, is_replay=job.is_replay), True
        while is_due:
            if not self._lane.is_token_good(job):
                await self._leave_uncertain(job)
                return
            try:
                async with self._lane.call(START, attempt.job):
                    aws_job_id = await self._lane.rekognition.start(attempt.job)
            except AwsError as error:
                if not await self._goes_on_after(error, attempt):
                    return
            else:
                due_seconds = self._lane.due_seconds(is_replay=attempt.is_replay)
                await self._started.send(Started(attempt.job, aws_job_id, due_seconds))
                return
            is_due = await self._its_turn()

    async def _its_turn(self) -> bool:
        """Wait until a Start is allowed and due; False if the stop came before. Once it is sent, none ends it."""
        with self._stop.taking():
            await self._lane.turn(START)
            return True
        return False

    async def _goes_on_after(self, error: AwsError, attempt: _Attempt) -> bool:
        """Do what the error demands; False where it was the last word on the job."""
        if error.verdict in NOT_THE_JOBS:
            await self._wait_after(error, attempt)
        elif error.verdict is Verdict.REPLAY_ELSEWHERE and (other := await self._other_channel(attempt.job)):
            attempt.job, attempt.is_replay = other, True
        elif error.code == HIDDEN:
            return await self._goes_on_without_object(error, attempt)
        else:
            await self._give_up(attempt.job, error)
            return False
        return True

    async def _goes_on_without_object(self, error: AwsError, attempt: _Attempt) -> bool:
        """Rekognition cannot get the object: it is to blame if S3 has lost it, or others can be got meanwhile.

        Else the role or a KMS key may be at fault, and with it the lane.
        """
        last_word: AwsError | None = None
        if self._lane.denial.reason:  # this was a probe
            self._lane.deny(str(error), START)
        else:
            with self._stop.taking():
                last_word = await self._blamed(error, attempt)
                if last_word is None:
                    await anyio.sleep(attempt.next_pause())
        if last_word:
            await self._give_up(attempt.job, last_word)
        return last_word is None

    async def _blamed(self, error: AwsError, attempt: _Attempt) -> AwsError | None:
        """The last word on the object, or None while others may be to blame."""
        job = attempt.job
        try:
            await patient_head(self._lane, Object(job.bucket, job.key, job.version_id))
        except AwsError as said_by_head:
            return said_by_head
        attempt.hidden += 1
        if attempt.hidden == 1:
            attempt.starts_before = self._lane.starts
            self._lane.hidden(error)
            return None
        is_object = self._lane.starts > attempt.starts_before or attempt.hidden >= MOST_TRIES
        return error if is_object else None

    async def _leave_uncertain(self, job: Job) -> None:
        """The intent is older than the token's life: whether it was paid can no longer be asked at no cost."""
        self._lane.slots.give_back(job.id)
        log.warning("start uncertain", lane=self._lane.name, job=job.id)
        reason = "the start may have been paid, and its token is too old to ask for it at no cost"
        await self._jobs.fail(Failure(job.id, "uncertain", reason, "uncertain"))

    async def _wait_after(self, error: AwsError, attempt: _Attempt) -> None:
        """Wait as the error demands; pace and permission are waited for at the next call."""
        with self._stop.taking():
            if error.verdict is Verdict.NO_SLOT:
                self._lane.slots.refused(attempt.job.id, anyio.current_time(), announced_limit(error.message))
                await self._lane.slots.take(attempt.job.id)
            elif error.verdict is Verdict.RETRY:
                # The lost answer may hide a start, and a replayed one sends no notice.
                attempt.is_replay = True
                await anyio.sleep(attempt.next_pause())

    async def _other_channel(self, job: Job) -> Job | None:
        """The job under the next of the lane's channels; None when all were tried."""
        ids = [channel.id for channel in self._lane.channels]
        tried = ids.index(job.channel.id) if job.channel.id in ids else -1
        if tried + 1 >= len(ids):
            return None
        channel = self._lane.channels[tried + 1]
        await self._jobs.move_to_channel(job.id, channel.id)
        return replace(job, channel=channel)

    async def _give_up(self, job: Job, error: AwsError) -> None:
        self._lane.slots.give_back(job.id)
        log.warning("start refused", lane=self._lane.name, job=job.id, code=error.code, reason=error.message)
        if error.verdict is Verdict.REPLAY_ELSEWHERE:
            reason = "the job exists under a channel that is not known here any more"
            failure = Failure(job.id, "uncertain", reason, "uncertain")
        elif error.verdict is Verdict.VIDEO_REJECTED:
            failure = Failure(job.id, "failed", rejected_at_start(error), "skipped")
        else:
            failure = Failure(job.id, "failed", f"start refused: {error}", "failed")
        await self._jobs.fail(failure)


class _Attempt(Struct):
    """How far the start of a job is."""

    job: Job
    is_replay: bool
    pause_seconds: float = FIRST_PAUSE_SECONDS
    hidden: int = 0  # times that Rekognition could not get the object and S3 could
    starts_before: int = 0  # that the lane had when that was so first

    def next_pause(self) -> float:
        """Seconds to wait: twice as long each time."""
        pause_seconds = self.pause_seconds
        self.pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        return pause_seconds


async def confirm(jobs: Jobs, started: MemoryObjectReceiveStream[Started]) -> None:
    """Record JobIds, many in one statement."""
    async with started:
        async for batch in batches(started, size=CONFIRMS_AT_ONCE, apart_seconds=CONFIRMS_APART_SECONDS):
            await _confirm(jobs, batch)


async def _confirm(jobs: Jobs, batch: Sequence[Started]) -> None:
    """Record the JobIds; one that belongs to another job already is found by recording each on its own."""
    try:
        await jobs.confirm(batch)
    except asyncpg.UniqueViolationError:
        if len(batch) > 1:
            for item in batch:
                await _confirm(jobs, [item])
            return
        job_id = batch[0].job.id
        log.warning("JobId of another job", job=job_id, aws_job_id=batch[0].aws_job_id)
        await jobs.fail(Failure(job_id, "uncertain", "AWS gave the JobId of another job", "uncertain"))

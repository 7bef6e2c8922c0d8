"""From pending videos to running jobs: claim, HEAD, intent, Start, confirm. The intent is committed before the call."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import structlog
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec.structs import replace

from worker.aws.rekognition import START
from worker.errors import AwsError, Verdict
from worker.flow.batch import batches
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Backfill, Failure, Job, ResolvedObject, Video, identity_of
from worker.pipeline.look import patient_head
from worker.pipeline.refusals import rejected_at_head, rejected_at_start, source_changed
from worker.store.claims import Claims, Intent, Verdicted
from worker.store.jobs import Jobs, Started

SECONDS_AHEAD = 1.5  # of the pace that are claimed ahead: intents hold budget and cannot be overtaken
LARGEST_CLAIM = 200
HEADS_AT_ONCE = 32
IDLE_SECONDS = 1.0
MOST_CLAIMS = 3  # without an intent to show for it: the video seems to kill the process
CALLS_AT_ONCE = 256
CONFIRMS_AT_ONCE = 100
CONFIRM_LINGER_SECONDS = 0.02
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
PASSING = frozenset({Verdict.RETRY, Verdict.SLOW_DOWN, Verdict.NO_SLOT, Verdict.STOP_LANE})  # no word on the job itself
TOKEN_MARGIN = 12 / 168  # of a token's life, in which it is not relied on any more

log = structlog.get_logger()


def claim_ahead(lane: Lane) -> int:
    """How many jobs may be claimed before they are started."""
    ahead = round(lane.paces[START].ceiling_per_second * SECONDS_AHEAD)
    return max(1, min(LARGEST_CLAIM, ahead, lane.slots.ceiling))


class Claimer:
    """Turns pending videos into committed intents, a second or two of the pace ahead of the starts."""

    def __init__(self, lane: Lane, claims: Claims, intents: ObjectSendStream[Job], stop: Stop) -> None:
        self._lane = lane
        self._claims = claims
        self._intents = intents
        self._stop = stop
        self._positions: dict[int, int] = {}
        self._in_hand: set[int] = set()
        self._claiming = anyio.Lock()  # what was claimed is in hand before anybody looks for claims that are in none

    async def run(self) -> None:
        """Claim until the stop; what was claimed then is still brought to an intent or given back."""
        async with self._intents:
            while not self._stop.is_requested:
                if not await self._claim_once():
                    with self._stop.taking():
                        await self._lane.work_registered.wait(timeout_seconds=IDLE_SECONDS)

    async def recover(self) -> None:
        """Return claimed videos that an earlier owner, or a lost answer of the database, left without a job."""
        async with self._claiming:
            returned = await self._claims.recover(self._lane.id, sorted(self._in_hand))
        if returned:
            log.info("claims returned", lane=self._lane.name, videos=returned)
            self._positions.clear()

    async def _claim_once(self) -> bool:
        """Claim from the most urgent backfill that has something to claim; False if none has."""
        for backfill in await self._claims.claimable(self._lane.id):
            videos = await self._claim(backfill)
            if videos:
                await self._intend(backfill, videos)
                return True
        return False

    async def _claim(self, backfill: Backfill) -> list[Video]:
        after = self._positions.get(backfill.id, 0)
        async with self._claiming:
            claimed = await self._claims.claim(
                self._lane.owner, backfill, after=after, limit=claim_ahead(self._lane), estimate=self._lane.estimate
            )
            self._in_hand |= {video.id for video in claimed.videos}
        self._note_budget(backfill, is_out=claimed.is_out_of_budget)
        # At the end of the order begin again: videos that came back lie behind the position.
        self._positions[backfill.id] = claimed.position if claimed.videos else 0
        return claimed.videos

    def _note_budget(self, backfill: Backfill, *, is_out: bool) -> None:
        if is_out and backfill.name not in self._lane.out_of_budget:
            log.warning("budget reached", backfill=backfill.name, lane=self._lane.name, budget_usd=backfill.budget_usd)
        (self._lane.out_of_budget.add if is_out else self._lane.out_of_budget.discard)(backfill.name)

    async def _intend(self, backfill: Backfill, videos: list[Video]) -> None:
        """HEAD the videos, settle what HEAD refuses, commit the intents of the others, and hand the jobs on."""
        intents: list[Intent] = []
        refused: list[Verdicted] = []
        with self._stop.taking():
            await self._look_at(videos, intents, refused)
        seen = {verdict.video_id for verdict in refused} | {intent.video.id for intent in intents}
        if refused:
            await self._claims.settle(refused)
        if left := sorted({video.id for video in videos} - seen):
            await self._claims.give_back(self._lane.id, left)
        committed = await self._claims.commit_intents(
            self._lane.owner, backfill, self._lane.channels[0].id, intents, self._lane.estimate
        )
        self._in_hand -= {video.id for video in videos}
        if committed.returned:
            self._note_budget(backfill, is_out=True)
        with self._stop.taking():
            for job in committed.jobs:
                await self._intents.send(job)

    async def _look_at(self, videos: list[Video], intents: list[Intent], refused: list[Verdicted]) -> None:
        limiter = anyio.CapacityLimiter(HEADS_AT_ONCE)

        async def look(video: Video) -> None:
            async with limiter:
                seen = await self._head(video)
            (intents if isinstance(seen, Intent) else refused).append(seen)  # type: ignore[arg-type]

        async with anyio.create_task_group() as heads:
            for video in videos:
                heads.start_soon(look, video)

    async def _head(self, video: Video) -> Intent | Verdicted:
        if video.claims > MOST_CLAIMS:
            return Verdicted(video.id, "failed", f"poison: taken up {MOST_CLAIMS} times without coming to a start")
        try:
            found = await patient_head(self._lane, video.object)
        except AwsError as error:
            return Verdicted(video.id, "skipped", rejected_at_start(error))
        if reason := rejected_at_head(found) or source_changed(video.object, found):
            return Verdicted(video.id, "skipped", reason)
        return Intent(video, found, self._identity(video, found))

    def _identity(self, video: Video, found: ResolvedObject) -> bytes:
        return identity_of(
            self._lane.settings.deployment,
            found.bucket,
            found.key,
            found.version_id or found.etag,
            video.backfill.min_confidence,
            video.backfill.edition,
        )


async def inherit(lane: Lane, jobs: Jobs) -> list[Job]:
    """The intents that an earlier owner left, to be started again: the same tokens give the same jobs, for nothing.

    To be asked before the first claim, so that none of this owner's own is among them.
    """
    token_seconds = lane.settings.aws.token_seconds
    for job_id in await jobs.intents_too_old(lane.id, token_seconds * (1 - TOKEN_MARGIN)):
        reason = "the start may have been paid, and its token is too old to ask for it at no cost"
        await jobs.fail(Failure(job_id, "uncertain", reason, "uncertain"))
    return await jobs.intents(lane.id)


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
                async for job in intents:
                    await self._launch(job, calls)

    async def _launch(self, job: Job, calls: TaskGroup) -> None:
        await self._lane.slots.take(job.id)
        calls.start_soon(self._start, job)

    async def _start(self, job: Job) -> None:
        """Call until AWS has said yes or no to this job; at the stop the intent stays for the next owner."""
        pause = FIRST_PAUSE_SECONDS
        is_replay = job.is_replay
        while not self._stop.is_requested:
            try:
                aws_job_id = await self._call(job)
            except AwsError as error:
                if error.verdict in PASSING:
                    await self._wait_after(error, job, pause)
                elif error.verdict is Verdict.REPLAY_ELSEWHERE and (other := await self._other_channel(job)):
                    job, is_replay = other, True
                else:
                    await self._give_up(job, error)
                    return
                if error.verdict is Verdict.RETRY:
                    # The lost answer may hide a start, and a replayed one sends no notice.
                    is_replay, pause = True, min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if aws_job_id is not None:
                    await self._started.send(Started(job, aws_job_id, self._lane.due_seconds(is_replay=is_replay)))
                return

    async def _call(self, job: Job) -> str | None:
        """One attempt; None if the stop came before its turn. Once it is sent, the stop does not end it."""
        is_due = False
        with self._stop.taking():
            await self._lane.turn(START)
            is_due = True
        if not is_due:
            return None
        async with self._lane.call(START):
            return await self._lane.rekognition.start(job)

    async def _wait_after(self, error: AwsError, job: Job, pause: float) -> None:
        """Wait as the error demands; pace and permission are waited for at the next call."""
        with self._stop.taking():
            if error.verdict is Verdict.NO_SLOT:
                self._lane.slots.refused(job.id, anyio.current_time())
                await self._lane.slots.take(job.id)
            elif error.verdict is Verdict.RETRY:
                await anyio.sleep(pause)

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


async def confirm(jobs: Jobs, started: ObjectReceiveStream[Started]) -> None:
    """Record JobIds, many in one statement."""
    async with started:
        async for batch in batches(started, size=CONFIRMS_AT_ONCE, linger_seconds=CONFIRM_LINGER_SECONDS):
            await jobs.confirm(batch)

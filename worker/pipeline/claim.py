"""From pending videos to committed intents: claim, HEAD, intent. The intent is committed before anything is called."""

from __future__ import annotations

import anyio
import structlog
from anyio.abc import ObjectSendStream

from worker.aws.rekognition import START
from worker.errors import AwsError
from worker.flow.pace import Pace
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Backfill, Job, ResolvedObject, Video, identity_of
from worker.pipeline.look import patient_head
from worker.pipeline.refusals import rejected_at_head, rejected_at_start, source_changed
from worker.store.claims import Claims, Intent, Verdicted

SECONDS_AHEAD = 0.9  # of the pace in a claim; one waits while another is started, and neither can be overtaken
LARGEST_CLAIM = 200
SHARED_SECONDS = 10.0  # of the pace that another lane's queue must be worth, before a dry lane takes a part of it
SLAB_SECONDS = 60.0  # of the pace that are taken over at most
HEADS_AT_ONCE = 32
HEADS_A_START = 3  # of the pace: a crowd of them would keep the event loop from the starts, which then come in a bunch
IDLE_SECONDS = 1.0
MOST_CLAIMS = 4  # without an intent to show for it, all but the first alone: the video seems to kill the process

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
        self._turns: dict[int, int] = {}  # of backfills that have something to claim: when they had their last one
        self._in_hand: set[int] = set()
        self._claiming = anyio.Lock()  # what was claimed is in hand before anybody looks for claims that are in none

    async def run(self) -> None:
        """Claim until the stop; what was claimed then is still brought to an intent or given back."""
        async with self._intents:
            while not self._stop.is_requested:
                if not (self._lane.may_claim and await self._claim_once()):
                    with self._stop.taking():
                        await self._lane.work_registered.wait(timeout_seconds=IDLE_SECONDS)

    async def recover(self) -> None:
        """Return claimed videos that an earlier owner, or a lost answer of the database, left without a job."""
        async with self._claiming:
            returned = await self._claims.recover(self._lane.owner, sorted(self._in_hand))
        if returned:
            log.info("claims returned", lane=self._lane.name, videos=returned)
            self._positions.clear()

    async def _claim_once(self) -> bool:
        """Claim from the most urgent backfill that has something to claim; False if none has.

        Of those that are equally urgent, the one whose last turn is longest ago comes first.
        """
        claimable = await self._claims.claimable(self._lane.id) or await self._taken_over()
        self._turns = {backfill.id: self._turns.get(backfill.id, 0) for backfill in claimable}
        for backfill in sorted(claimable, key=lambda one: (-one.priority, self._turns[one.id], one.id)):
            videos = await self._claim(backfill)
            if videos:
                self._turns[backfill.id] = max(self._turns.values()) + 1
                await self._intend(backfill, videos)
                return True
        return False

    async def _taken_over(self) -> list[Backfill]:
        """The lane has run dry: take a part of the longest queue of its region."""
        rate = self._lane.paces[START].per_second
        least, most = (max(2, round(rate * seconds)) for seconds in (SHARED_SECONDS, SLAB_SECONDS))
        taken = await self._claims.take_slab(self._lane.owner, least=least, most=most)
        if taken:
            log.info("videos taken over from another lane", lane=self._lane.name, videos=taken)
            self._positions.clear()
        return await self._claims.claimable(self._lane.id) if taken else []

    async def _claim(self, backfill: Backfill) -> list[Video]:
        after = self._positions.get(backfill.id, 0)
        async with self._claiming:
            claimed = await self._claims.claim(
                self._lane.owner, backfill, after=after, limit=claim_ahead(self._lane), estimate=self._lane.estimate
            )
            self._in_hand |= {video.id for video in claimed.videos}
        self._note_budget(backfill, is_out=claimed.is_out_of_budget)
        # At the end of the order begin again: videos that came back lie behind the position. Without money it stays.
        is_at_end = not claimed.videos and not claimed.is_out_of_budget
        self._positions[backfill.id] = 0 if is_at_end else claimed.position
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
            await self._claims.give_back(self._lane.owner, left)
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

        pace = Pace(self._lane.paces[START].ceiling_per_second * HEADS_A_START)
        async with anyio.create_task_group() as heads:
            for video in videos:
                await pace.wait()
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

"""Reads the result pages of finished jobs, those that expire first in front. The page decides, not the notice."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import anyio
import msgspec
import structlog
from anyio.abc import ObjectSendStream

from worker.aws.rekognition import GET, Answer
from worker.errors import NOT_THE_JOBS, AwsError, UnreadableError, Verdict
from worker.flow.clock import now_seconds
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Failure, Object, Page, ReadyJob
from worker.pipeline.look import patient_head
from worker.pipeline.refusals import failed_afterwards
from worker.store.jobs import Aside, Jobs

READERS = 32
LOOK_SECONDS = 10.0  # between looks for ready jobs that nobody told of, where none was left over
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
STRANGE_ANSWERS = 5  # to one question: what was cut short on its way gets better
MOST_RESTARTS = 5  # of one reading; a page token expires after a day
LONGEST_REASON = 500  # symbols
MOST_PAGES = 10_000  # six hours with 15 labels in each of 30 frames a second

LASTING = frozenset({Verdict.RESTART_READ, Verdict.JOB_FAILED, Verdict.RESULTS_GONE})

log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode


class Fetcher:
    """Reads jobs side by side, each page after page; what it reads goes to `pages`."""

    def __init__(self, lane: Lane, jobs: Jobs, pages: ObjectSendStream[Page], stop: Stop) -> None:
        self._lane = lane
        self._jobs = jobs
        self._pages = pages
        self._stop = stop
        self._free = anyio.Semaphore(READERS)
        self._look_at = -math.inf

    async def run(self) -> None:
        """Take ready jobs until the stop; pages of jobs that are being read then are still written."""
        async with self._pages, anyio.create_task_group() as readers:
            with self._stop.taking():
                while True:
                    for job in await self._ready():
                        await self._free.acquire()
                        self._lane.reading.add(job.id)
                        readers.start_soon(self._read, job)
                    await self._lane.pages_ready.wait(timeout_seconds=self._look_at - anyio.current_time())

    async def _ready(self) -> list[ReadyJob]:
        """Those that were told of, or the oldest ones where it is time to look, or more wait than can be told of."""
        told = self._lane.pages_ready.take()
        if told is None or anyio.current_time() >= self._look_at:
            return await self._oldest()
        page_token_seconds = self._lane.settings.aws.page_token_seconds
        news = sorted(set(told) - self._lane.reading)
        return await self._jobs.ready_of(self._lane.id, news, page_token_seconds=page_token_seconds) if news else []

    async def _oldest(self) -> list[ReadyJob]:
        jobs = await self._jobs.ready(
            self._lane.id,
            in_hand=sorted(self._lane.reading),
            limit=READERS,
            page_token_seconds=self._lane.settings.aws.page_token_seconds,
        )
        may_be_more = len(jobs) == READERS
        self._look_at = anyio.current_time() + (0.0 if may_be_more else LOOK_SECONDS)
        return jobs

    async def _read(self, job: ReadyJob) -> None:
        """Read one job to its last page, its failure, or the stop; after the stop the next owner goes on."""
        is_handed_on = False
        try:
            is_handed_on = await self._read_pages(job)
        finally:
            self._free.release()
            if not is_handed_on:
                self._lane.reading.discard(job.id)

    async def _read_pages(self, job: ReadyJob) -> bool:
        """True if the last page was handed on: then the job stays in hand until it is written."""
        cursor = _Cursor(job)
        while not cursor.is_at_end:
            answer = await self._readable_answer(job, cursor)
            if answer is None:
                return False
            self._lane.slots.give_back(job.id)
            if page := cursor.advance(answer):
                await self._pages.send(page)
            if cursor.disagrees:
                log.warning("pages differ from those read before, read anew", lane=self._lane.name, job=job.id)
                await self._jobs.drop_pages(job.id)
                return False
        return True

    async def _readable_answer(self, job: ReadyJob, cursor: _Cursor) -> Answer | None:
        """The next page of a job that SUCCEEDED; None once the job has taken another turn, or at the stop."""
        with self._stop.taking():
            try:
                answer = await self._page(job, cursor.next_token)
            except AwsError as error:
                if error.verdict is Verdict.RESTART_READ and cursor.may_restart:
                    cursor.restart()
                    return await self._readable_answer(job, cursor)
                await self._give_up(job, error, cursor.number)
                return None
            if answer.job_status != "SUCCEEDED":
                await self._not_yet_or_never(job, answer)
            elif cursor.number > MOST_PAGES:
                await self._give_up(job, UnreadableError(f"it goes on after {MOST_PAGES:,} pages"), cursor.number)
            elif cursor.number == 1 and await self._has_changed(job):
                await self._fail(_unused(job, "failed", "source changed while it was moderated"))
            else:
                return answer
        return None

    async def _page(self, job: ReadyJob, next_token: str | None) -> Answer:
        """Ask until there is an answer about this job.

        Raises:
            AwsError: what lasts: RESTART_READ, JOB_FAILED, RESULTS_GONE; or answers that AWS does not document, again
                and again.

        """
        pause, strange = FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                await self._lane.turn(GET)
                async with self._lane.call(GET, job):
                    return await self._lane.rekognition.get(job, next_token)
            except AwsError as error:
                strange += isinstance(error, UnreadableError) or error.verdict not in NOT_THE_JOBS
                if error.verdict in LASTING or strange >= STRANGE_ANSWERS:
                    raise
                if error.verdict not in (Verdict.SLOW_DOWN, Verdict.STOP_LANE):  # those wait for their turn
                    log.info("page not read", lane=self._lane.name, job=job.id, reason=str(error))
                    await anyio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _has_changed(self, job: ReadyJob) -> bool:
        """True if an object without versions is another one than was looked at before the Start."""
        if job.version_id is not None or not job.etag:
            return False
        try:
            found = await patient_head(self._lane, Object(job.bucket, job.key))
        except AwsError:
            return False  # gone by now: what was there then has been moderated
        return found.etag != job.etag

    async def _not_yet_or_never(self, job: ReadyJob, answer: Answer) -> None:
        if answer.job_status == "IN_PROGRESS":
            self._lane.metrics.overdue(self._lane.name, "in_progress")
            await self._jobs.wait_longer(job.id, self._lane.due_again_seconds(job.asked))
            return
        reason, worth_another = failed_afterwards(answer.status_message)
        log.warning("job failed", lane=self._lane.name, job=job.id, reason=reason)
        await self._fail(Failure(job.id, "failed", reason, "failed", worth_another, at_aws=True))

    async def _give_up(self, job: ReadyJob, error: AwsError, number: int) -> None:
        if error.verdict is Verdict.RESULTS_GONE:
            await self._results_gone(job, error)
            return
        log.warning("result not readable", lane=self._lane.name, job=job.id, code=error.code, reason=error.message)
        failure = _unused(job, "failed", f"unreadable result: {error.message or error.code}"[:LONGEST_REASON])
        await self._fail(failure, Aside(number, error.body) if isinstance(error, UnreadableError) else None)

    async def _results_gone(self, job: ReadyJob, error: AwsError) -> None:
        """Old results have expired; young ones cannot have: then it is another account's or region's lane."""
        age_seconds = now_seconds() - job.started_at
        if age_seconds < self._lane.settings.aws.reliable_results_seconds:
            reason = f"AWS does not know a job of {age_seconds:.0f} s ago ({error}): wrong account or region?"
            self._lane.deny(reason, GET)
            return
        await self._fail(_unused(job, "expired", "results expired before they were read"))

    async def _fail(self, failure: Failure, aside: Aside | None = None) -> None:
        self._lane.slots.give_back(failure.job_id)
        if "pending" in await self._jobs.fail(failure, aside):
            self._lane.work_registered.set()


def _unused(job: ReadyJob, state: Literal["failed", "expired"], reason: str) -> Failure:
    """The end of a job that was paid for, and whose results are of no use."""
    return Failure(job.id, state, reason, state)


class _Cursor:
    """Where the reading of a job stands: which page comes next, and what was read so far."""

    def __init__(self, job: ReadyJob) -> None:
        self._job = job
        self._digest = job.digest
        self._restarts_left = MOST_RESTARTS
        self.number = job.next_page
        self.next_token = job.next_token
        self.is_at_end = False
        self.disagrees = False
        if job.next_page > 1 and job.next_token is None:
            self.restart()  # the token is too old to be tried

    @property
    def may_restart(self) -> bool:
        """True where the page token may be to blame."""
        return self.next_token is not None and self._restarts_left > 0

    def restart(self) -> None:
        """From page 1, to skip what is there already while the running digest agrees."""
        self.number, self._digest, self.next_token = 1, b"", None
        self._restarts_left -= 1

    def advance(self, answer: Answer) -> Page | None:
        """The page to write, None for one that is there already."""
        page = self._as_page(answer)
        self.number, self._digest, self.next_token = page.number + 1, page.digest, page.next_token
        self.is_at_end = page.is_last
        if page.number >= self._job.next_page:
            return page
        is_last_known = page.number == self._job.next_page - 1
        self.disagrees = (is_last_known and page.digest != self._job.digest) or page.is_last
        self.is_at_end = self.is_at_end or self.disagrees
        return None

    def _as_page(self, answer: Answer) -> Page:
        labels = answer.moderation_labels
        metadata = answer.video_metadata
        return Page(
            job_id=self._job.id,
            number=self.number,
            next_token=answer.next_token or None,
            detections=labels,
            follows=self._digest,
            digest=hashlib.sha256(self._digest + _encode(labels)).digest(),
            model_version=answer.moderation_model_version,
            duration_ms=metadata.duration_millis if metadata else None,
            metadata=None if metadata is None else msgspec.to_builtins(metadata),
        )

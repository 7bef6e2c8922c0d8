"""Jobs of the synthetic analyst: they end at a time that is known at their start, and cost nothing until then."""

from __future__ import annotations

import math
import sqlite3

import anyio
import anyio.to_thread

from worker.local import jobs
from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.clock import now_ms
from worker.local.database import Database
from worker.local.endings import Endings, timed_ending
from worker.local.jobs import Job, NewJob

_FIXED_SECONDS = 5.0
_SECONDS_PER_VIDEO_SECOND = 0.1
_LARGEST_GROUP = 100  # endings in one transaction
_LONGEST_WAIT_SECONDS = 10.0  # the wall clock may be set while the loop waits


class TimedRunner:
    """Ends each job when its time is over; analyses it anew whenever it is asked for."""

    def __init__(self, database: Database, endings: Endings, analyst: SyntheticAnalyst, speed: float) -> None:
        self._database = database
        self._endings = endings
        self._analyst = analyst
        self._speed = speed
        self._earlier = anyio.Event()
        self._wakes_at_ms: float = math.inf

    def ends_at_ms(self, video: StoredVideo, started_at_ms: int) -> int:
        """5 s and a tenth of the video's duration later, on a clock that runs `speed` times as fast."""
        seconds = _FIXED_SECONDS + _SECONDS_PER_VIDEO_SECOND * self._analyst.duration_ms(video) / 1000
        return started_at_ms + round(seconds * 1000 / self._speed)

    def announce(self, job: NewJob) -> None:
        """The job has been committed."""
        if job.ends_at_ms is not None and job.ends_at_ms < self._wakes_at_ms:
            self._earlier.set()

    async def analysis(self, job: Job) -> Analysis:
        """What the job has found."""
        return await anyio.to_thread.run_sync(self._analyst.analyse, _video(job), job.min_confidence)

    async def run(self) -> None:
        """End jobs until cancelled."""
        while True:
            self._earlier = anyio.Event()
            next_end_ms = jobs.next_end_ms(self._database.reader)
            self._wakes_at_ms = math.inf if next_end_ms is None else next_end_ms
            if self._wakes_at_ms <= now_ms():
                self._endings.announce(await self._database.write(self._end_due))
            else:
                with anyio.move_on_after(min((self._wakes_at_ms - now_ms()) / 1000, _LONGEST_WAIT_SECONDS)):
                    await self._earlier.wait()

    def _end_due(self, connection: sqlite3.Connection) -> list[str | None]:
        due = jobs.due(connection, now_ms(), _LARGEST_GROUP)
        return [self._end(connection, job) for job in due]

    def _end(self, connection: sqlite3.Connection, job: Job) -> str | None:
        video = _video(job)
        ending = timed_ending(self._analyst.duration_ms(video), self._analyst.failure(video), now_ms())
        return self._endings.end(connection, job, ending)


def _video(job: Job) -> StoredVideo:
    return StoredVideo(job.bucket, job.key, job.version_id, job.size_bytes, None)

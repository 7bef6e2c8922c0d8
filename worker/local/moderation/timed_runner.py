"""Jobs of synthetic analysts: they end at a time that is known at their start, and cost nothing until then."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from functools import partial

import anyio
import msgspec

from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.moderation.endings import Endings, timed_ending
from worker.local.moderation.runner import Look
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Job, NewJob

_LARGEST_GROUP = 100  # endings in one transaction


class JobTimes(msgspec.Struct, frozen=True):
    """How long jobs take, in seconds of the service's clock."""

    base_seconds: float
    seconds_per_video_second: float

    def job_ms(self, video_ms: int) -> int:
        """What a video of that length takes."""
        return round(self.base_seconds * 1000 + self.seconds_per_video_second * video_ms)


class TimedRunner:
    """Ends each job when its time is over; analyses it anew, by the seed of its start, whenever it is asked for."""

    def __init__(
        self,
        database: Database,
        endings: Endings,
        analyst_of: Callable[[int], SyntheticAnalyst],
        seed: int,
        times: JobTimes,
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._endings = endings
        self._analyst_of = analyst_of
        self._seed = seed
        self._times = times
        self._earlier = anyio.Event()
        self._wakes_at_ms: float = math.inf

    @property
    def seed(self) -> int:
        """That of new jobs."""
        return self._seed

    async def duration_ms(self, video: StoredVideo) -> int:
        """As the analyst makes it up."""
        return self._analyst_of(self._seed).duration_ms(video)

    def ends_at_ms(self, video_ms: int | None, started_at_ms: int) -> int:
        """A base, and a part of the video's duration, later."""
        return started_at_ms + self._times.job_ms(video_ms or 0)

    def announce(self, job: NewJob) -> None:
        """The job has been committed."""
        if job.ends_at_ms is not None and job.ends_at_ms < self._wakes_at_ms:
            self._earlier.set()

    def look(self, job: Job) -> Look:
        """Make up anew what the job has seen."""
        return partial(self._analyst(job).analyse, _video(job), job.min_confidence)

    async def run(self) -> None:
        """End jobs until cancelled."""
        while True:
            self._earlier = anyio.Event()
            next_end_ms = jobs.next_end_ms(self._database.reader)
            self._wakes_at_ms = math.inf if next_end_ms is None else next_end_ms
            if self._wakes_at_ms <= self._clock.now_ms():
                self._endings.announce(await self._database.write(self._end_due))
            else:
                with anyio.move_on_after(self._clock.seconds_until(self._wakes_at_ms)):
                    await self._earlier.wait()

    def _end_due(self, connection: sqlite3.Connection) -> list[str | None]:
        due = jobs.due(connection, self._clock.now_ms(), _LARGEST_GROUP)
        return [self._end(connection, job) for job in due]

    def _end(self, connection: sqlite3.Connection, job: Job) -> str | None:
        video, analyst = _video(job), self._analyst(job)
        ending = timed_ending(analyst.duration_ms(video), analyst.failure(video), self._clock.now_ms())
        return self._endings.end(connection, job, ending)

    def _analyst(self, job: Job) -> SyntheticAnalyst:
        return self._analyst_of(job.seed)  # type: ignore[arg-type]  # jobs without a seed are the other runner's


def _video(job: Job) -> StoredVideo:
    return StoredVideo(job.bucket, job.key, job.version_id, job.size_bytes, None)

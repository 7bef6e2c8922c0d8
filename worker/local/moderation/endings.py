"""What happens when a job ends: its row, its slot, its sums and its notice, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from worker.local.analysts.analysis import Analysis
from worker.local.faults.faults import Faults
from worker.local.moderation.notices import Notices
from worker.local.moderation.publisher import Publisher
from worker.local.sqs.queues import Queues
from worker.local.state import jobs
from worker.local.state.jobs import Ending, Job

_MS_PER_MINUTE = 60_000


class Endings:
    """Ends jobs, each once however often it is tried."""

    def __init__(self, notices: Notices, queues: Queues, publisher: Publisher | None, faults: Faults) -> None:
        self._notices = notices
        self._faults = faults
        self._queues = queues
        self._publisher = publisher

    def end(self, connection: sqlite3.Connection, job: Job, ending: Ending) -> str | None:
        """End the job; gives the queue that has a new message, to be announced after the commit."""
        if fault := self._faults.of_job(job):
            ending = Ending(ending.ended_at_ms, fault.message, 0.0, told_as=fault.status)
        return self._notices.file(connection, job, ending) if jobs.finish(connection, job, ending) else None

    def announce(self, queues: Iterable[str | None]) -> None:
        """Wake those who wait for the notices of committed endings."""
        for queue in {queue for queue in queues if queue is not None}:
            self._queues.announce(queue)
        if self._publisher is not None:
            self._publisher.announce()


def ending_of(analysis: Analysis, ended_at_ms: int) -> Ending:
    """The ending that an analysis leads to. Only what was looked at is paid: nothing of a video that failed."""
    if analysis.metadata is None:
        return Ending(ended_at_ms, analysis.failure, 0.0)
    return Ending(ended_at_ms, analysis.failure, analysis.metadata["DurationMillis"] / _MS_PER_MINUTE)


def timed_ending(duration_ms: int, failure: str | None, ended_at_ms: int) -> Ending:
    """The ending of a job that is known before it is looked at."""
    return Ending(ended_at_ms, failure, 0.0 if failure else duration_ms / _MS_PER_MINUTE)

"""What brings started jobs to their end and keeps what was found."""

from __future__ import annotations

from typing import Protocol

from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.state.jobs import Job, NewJob


class Runner(Protocol):
    """Runs every job of the database that is in progress, those of an earlier process included."""

    async def duration_ms(self, video: StoredVideo) -> int | None:
        """How long the video runs, as far as it says so itself."""

    def ends_at_ms(self, video_ms: int | None, started_at_ms: int) -> int | None:
        """When a job started now will end; None where only the analysis tells."""

    def announce(self, job: NewJob) -> None:
        """The job has been committed."""

    async def analysis(self, job: Job) -> Analysis:
        """What a job that SUCCEEDED has found."""

    async def run(self) -> None:
        """Run jobs until cancelled."""

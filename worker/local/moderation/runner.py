"""What brings started jobs to their end and finds what they have seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.state.jobs import Job, NewJob

Look = Callable[[], Analysis]
"""Finds out what a job has seen; takes its time, in any thread."""


class Runner(Protocol):
    """Runs every job of its analysts that is in progress, those of an earlier process included."""

    @property
    def seed(self) -> int | None:
        """By which new jobs are known as this runner's."""

    async def duration_ms(self, video: StoredVideo) -> int | None:
        """How long the video runs, as far as it says so itself."""

    def ends_at_ms(self, video_ms: int | None, started_at_ms: int) -> int | None:
        """When a job started now will end; None where only the analysis tells."""

    def announce(self, job: NewJob) -> None:
        """The job has been committed."""

    def look(self, job: Job) -> Look:
        """How to find what a job that SUCCEEDED has seen."""

    async def run(self) -> None:
        """Run jobs until cancelled."""


class Runners(msgspec.Struct, frozen=True):
    """Both kinds side by side: a job belongs to the analyst that it was started with, whichever is configured now."""

    synthetic: Runner
    real: Runner

    def look(self, job: Job) -> Look:
        """How to find what a job that SUCCEEDED has seen."""
        return (self.real if job.seed is None else self.synthetic).look(job)

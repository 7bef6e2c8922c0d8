"""What AWS does, as far as the protocol can tell: jobs by token, what became of them, and their result pages.

Nothing here has a memory of its own: each call gives the answer and the AWS that comes after it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from worker.aws.rekognition import Answer, VideoMetadata
from worker.errors import AwsError, Verdict
from worker.model import Detection, Job, Label

MINUTE_MS = 60_000
LABELS_A_PAGE = 2


class AwsJob(Struct, frozen=True):
    """A start that AWS executed, and that somebody pays for.

    `reading` numbers the page tokens that are valid now; those of an earlier reading have expired. `arrangement` is
    the order in which the labels are told. A job whose life is over is not found any more, nor is its token.
    """

    id: str
    token: str
    tag: str
    object: tuple[str, str, str | None]
    status: Literal["IN_PROGRESS", "SUCCEEDED", "FAILED"] = "IN_PROGRESS"
    reading: int = 0
    arrangement: int = 0
    is_over: bool = False

    @property
    def labels(self) -> tuple[Detection, ...]:
        """What AWS has found; every job finds something else, so that no label can pass for another job's."""
        base = 50.0 + int(self.token[:4], 16) % 400 / 10
        names = ("Weapons", "Alcohol", "Weapons")
        return tuple(Detection(Label(name, base + i), timestamp_ms=1000 * i) for i, name in enumerate(names))

    @property
    def pages(self) -> list[tuple[Detection, ...]]:
        labels = self.labels[::-1] if self.arrangement else self.labels
        return [labels[i : i + LABELS_A_PAGE] for i in range(0, len(labels), LABELS_A_PAGE)]


class Aws(Struct, frozen=True):
    """Every job that was ever started, in the order of their starts' tokens."""

    jobs: tuple[AwsJob, ...] = ()

    def start(self, job: Job) -> tuple[str, Aws]:
        """StartContentModeration: a known token gives its JobId and nothing else; an unknown one is a paid start."""
        for known in self.jobs:
            if known.token == job.token and not known.is_over:
                return known.id, self
        same_token = sum(known.token == job.token for known in self.jobs)
        started = AwsJob(
            f"aws-{job.token[:12]}-{same_token}", job.token, job.tag, (job.bucket, job.key, job.version_id)
        )
        return started.id, Aws(tuple(sorted((*self.jobs, started), key=lambda known: known.id)))

    def get(self, aws_job_id: str, next_token: str | None, *, minutes: float) -> Answer:
        """GetContentModeration.

        Raises:
            AwsError: RESTART_READ for an expired page token, RESULTS_GONE for a job that AWS does not know.

        """
        job = self.job(aws_job_id)
        if job is None or job.is_over:
            raise AwsError(Verdict.RESULTS_GONE, "ResourceNotFoundException", "")
        if job.status != "SUCCEEDED":
            return Answer(job_status=job.status, job_tag=job.tag)
        number = 1
        if next_token is not None:
            reading, _, page = next_token.partition(":")
            if int(reading) != job.reading:
                raise AwsError(Verdict.RESTART_READ, "InvalidPaginationTokenException", "")
            number = int(page)
        return Answer(
            job_status="SUCCEEDED",
            video_metadata=VideoMetadata(duration_millis=round(minutes * MINUTE_MS)),
            moderation_labels=list(job.pages[number - 1]),
            next_token=f"{job.reading}:{number + 1}" if number < len(job.pages) else None,
            job_tag=job.tag,
        )

    def job(self, aws_job_id: str) -> AwsJob | None:
        """A job by its JobId."""
        return next((job for job in self.jobs if job.id == aws_job_id), None)

    def ends(self, job: AwsJob, status: Literal["SUCCEEDED", "FAILED"]) -> Aws:
        """The job has come to its end."""
        return self._with(replace(job, status=status))

    def expires_page_tokens(self, job: AwsJob, *, rearranged: bool) -> Aws:
        """The page tokens of the job are older than their life; it may tell its labels in another order from now on."""
        arrangement = 1 - job.arrangement if rearranged else job.arrangement
        return self._with(replace(job, reading=job.reading + 1, arrangement=arrangement))

    def forgets(self) -> Aws:
        """A week has passed: tokens and results are gone."""
        return Aws(tuple(replace(job, is_over=True) for job in self.jobs))

    def _with(self, changed: AwsJob) -> Aws:
        return Aws(tuple(changed if job.id == changed.id else job for job in self.jobs))

"""Result pages: a job's entries in one order and aggregation, encoded once and cut into pages.

A view is a run of encoded entries and where each ends, so that a page costs little more than its bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from worker.local.analysts.analysis import Analysis, Entry
from worker.local.analysts.taxonomy import MODEL_VERSION
from worker.local.moderation.segments import Segment, segments
from worker.local.state.jobs import Job

_ENCODER = msgspec.json.Encoder()


class Reading(msgspec.Struct, frozen=True):
    """How a job is read."""

    job_id: str
    sort_by: str
    aggregate_by: str


class View(msgspec.Struct, frozen=True):
    """One job's pages for one reading.

    Every entry is followed by a comma; `starts[i]` is where entry i begins in `entries`, one more is where they end.
    """

    job: Job
    head: bytes
    entries: bytes
    starts: array[int]

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self.starts) - 1

    @property
    def size_bytes(self) -> int:
        """What the view takes in memory."""
        return len(self.head) + len(self.entries) + self.starts.itemsize * len(self.starts)

    def page(self, first: int, end: int, next_token: str | None) -> bytes:
        """The response with the entries from `first` up to `end`."""
        entries = self.entries[self.starts[first] : max(self.starts[first], self.starts[end] - 1)]
        tail = b"" if next_token is None else b',"NextToken":"%b"' % next_token.encode()
        return b'%b,"ModerationLabels":[%b]%b}' % (self.head, entries, tail)


def view_of(job: Job, analysis: Analysis, reading: Reading) -> View:
    """Encode what a finished job has found."""
    lines = _ENCODER.encode_lines(_ordered(analysis, reading))  # JSON within a line has no line ends
    starts = array("Q", accumulate(map(len, lines.splitlines(keepends=True)), initial=0))
    head = _ENCODER.encode(_head(job, analysis, reading)).removesuffix(b"}")
    return View(job, head, lines.replace(b"\n", b","), starts)


def progress_of(job: Job, reading: Reading) -> bytes:
    """The response for a job that still runs."""
    return msgspec.json.encode({**_echo(job, reading), "ModerationLabels": []})


def _ordered(analysis: Analysis, reading: Reading) -> Sequence[Entry | Segment]:
    labels: Sequence[Entry | Segment] = segments(analysis) if reading.aggregate_by == "SEGMENTS" else analysis.labels
    return sorted(labels, key=_by_name) if reading.sort_by == "NAME" else labels


def _by_name(entry: Entry | Segment) -> tuple[str, float, int]:
    """Grouped by name, the most certain first."""
    label = entry.moderation_label
    return label.name, -label.confidence, entry.timestamp


def _head(job: Job, analysis: Analysis, reading: Reading) -> dict[str, Any]:
    head = _echo(job, reading)
    if job.status_message is not None:
        head["StatusMessage"] = job.status_message
    if analysis.metadata is not None:
        head["VideoMetadata"] = analysis.metadata
        head["ModerationModelVersion"] = MODEL_VERSION
    return head


def _echo(job: Job, reading: Reading) -> dict[str, Any]:
    video = {"Bucket": job.bucket, "Name": job.key}
    if job.version_id is not None:
        video["Version"] = job.version_id
    echo: dict[str, Any] = {
        "JobStatus": job.status,
        "JobId": job.job_id,
        "Video": {"S3Object": video},
        "GetRequestMetadata": {"SortBy": reading.sort_by, "AggregateBy": reading.aggregate_by},
    }
    if job.tag is not None:
        echo["JobTag"] = job.tag
    return echo

"""What an analyst is given and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec


class StoredVideo(msgspec.Struct, frozen=True):
    """One version of one object: `path` is its file on disk, None where the object has no bytes to look at."""

    bucket: str
    key: str
    version_id: str | None
    size_bytes: int
    path: Path | None


class ContentType(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """What kind of pictures a video shows."""

    confidence: float
    name: str


class ModerationLabel(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """A label, and how certain it is."""

    confidence: float
    name: str
    parent_name: str
    taxonomy_level: int


class Entry(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """An entry of ModerationLabels in the TIMESTAMPS view; there are 130,000 of them in a long video."""

    timestamp: int
    moderation_label: ModerationLabel
    content_types: tuple[ContentType, ...] = ()


class Analysis(msgspec.Struct, frozen=True):
    """What a finished job says of a video.

    `failure` is the StatusMessage of a FAILED job; then `metadata` is None and `labels` is empty. Otherwise `metadata`
    has the members of VideoMetadata, and `labels` the entries of ModerationLabels as the TIMESTAMPS view shows them,
    in the order of Timestamp, then Name. Both as GetContentModeration spells them:
    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetContentModeration.html

    `samples_ms` are the times of all frames that were looked at, ascending: each label's Timestamp is one of them, and
    they tell which labels were seen in consecutive samples. None stands for every 500 ms of the video from 0 on.
    """

    failure: str | None
    metadata: dict[str, Any] | None
    labels: list[Entry]
    samples_ms: list[int] | None = None


class Analyst(Protocol):
    """Looks at videos. Both methods may be called from several threads at once, and raise for no video whatever."""

    def duration_ms(self, video: StoredVideo) -> int | None:
        """How long the video runs, found without looking at its frames; None where it does not say."""

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:
        """Moderate the video; labels below `min_confidence` (0 to 100) are left out."""

"""The records that the stages hand to each other, and what makes a job the same job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

VideoState = Literal["pending", "active", "done", "failed", "skipped", "uncertain", "expired"]
FINAL_STATES: tuple[VideoState, ...] = ("done", "failed", "skipped", "uncertain", "expired")
VIDEO_STATES: tuple[VideoState, ...] = ("pending", "active", *FINAL_STATES)

SYMBOLS_OF_TAG = 40
UNREADABLE = "unreadable result"  # how the reason begins where a job SUCCEEDED and only our reading of it failed


BACKFILL_NAME = r"^[^\x00-\x1f\x7f]{1,200}$"
LARGEST_NUMBER = 2**62
_Number = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]


class Object(Struct, frozen=True, gc=False):
    """One S3 object as a source names it; `version_id` None means the newest one at the time of the Start."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: _Number | None = None
    duration_ms: _Number | None = None


class ListedObject(Object, frozen=True, gc=False):
    """An object as S3 itself names it, in a listing or an inventory."""

    modified_at: datetime | None = None
    storage_class: str | None = None


class ResolvedObject(Struct, frozen=True):
    """One version of one S3 object as HEAD tells it."""

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    storage_class: str = "STANDARD"


class Channel(Struct, frozen=True):
    """A topic and the role by which Rekognition publishes to it."""

    id: int
    topic_arn: str
    role_arn: str


class Backfill(Struct, frozen=True):
    """What the start stage needs to know of a backfill."""

    id: int
    name: str
    priority: int
    min_confidence: float
    edition: str
    aggregate_by: str
    price_usd_per_minute: float
    expected_minutes_per_gb: float
    budget_usd: float | None
    is_strict: bool
    max_generations: int


class Video(Struct, frozen=True):
    """A claimed video: an object's place in a backfill."""

    id: int
    backfill: Backfill
    object: Object
    generation: int
    claims: int
    reserved_usd: float


class Job(Struct, frozen=True):
    """A job with a committed intent that is to be started (again); `intent_at` is when, by `flow.clock`."""

    id: int
    tag: str
    token: str
    bucket: str
    key: str
    version_id: str | None
    min_confidence: float
    channel: Channel
    intent_at: float
    is_replay: bool


class ReadyJob(Struct, frozen=True):
    """A job whose pages are to be read from `next_page` on; `started_at` is when, by `flow.clock`."""

    id: int
    aws_job_id: str
    tag: str
    bucket: str
    key: str
    version_id: str | None
    etag: str | None
    aggregate_by: str
    next_page: int
    next_token: str | None
    digest: bytes
    detections: int
    asked: int
    started_at: float


class Notice(Struct, frozen=True):
    """A completion message: a hint to look at a job, never the truth."""

    aws_job_id: str
    receipt_handle: str
    receive_count: int


Milliseconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class Label(Struct, frozen=True, gc=False, rename="pascal"):
    """The `ModerationLabel` of a detection; top-level labels have the parent name ""."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    confidence: Percent
    parent_name: Annotated[str, Meta(max_length=256)] = ""
    taxonomy_level: Annotated[int, Meta(ge=0, le=100)] | None = None


class ContentType(Struct, frozen=True, gc=False, rename="pascal"):
    """What kind of picture a label was seen in, such as Animated or Illustrated; an open set of names."""

    name: Annotated[str, Meta(max_length=256)]
    confidence: Percent


class Detection(
    Struct,
    frozen=True,
    gc=False,
    rename={
        "label": "ModerationLabel",
        "timestamp_ms": "Timestamp",
        "start_ms": "StartTimestampMillis",
        "end_ms": "EndTimestampMillis",
        "content_types": "ContentTypes",
    },
):
    """A label seen at a time, as an entry of `ModerationLabels` gives it; milliseconds from the start of the video."""

    label: Label
    timestamp_ms: Milliseconds | None = None
    start_ms: Milliseconds | None = None
    end_ms: Milliseconds | None = None
    # Mostly empty: an empty tuple costs nothing, a list would be a thousand objects a page for the garbage collector.
    content_types: Annotated[tuple[ContentType, ...], Meta(max_length=50)] | None = None


class Page(Struct, frozen=True):
    """One GetContentModeration response of a job that SUCCEEDED, to be written as page `number`.

    `digest` is that of the reading up to and with this page, `follows` that of the page before (empty for page 1).
    """

    job_id: int
    number: int
    next_token: str | None
    detections: list[Detection]
    follows: bytes
    digest: bytes
    model_version: str | None
    duration_ms: int | None
    metadata: Mapping[str, Any] | None

    @property
    def is_last(self) -> bool:
        """True when no page follows."""
        return self.next_token is None


class Failure(Struct, frozen=True):
    """A job's lasting end without labels. `worth_another` allows a further generation.

    `at_aws` is AWS's own word FAILED: nothing was bought, so that trying again cannot pay twice.
    """

    job_id: int
    state: Literal["failed", "expired", "uncertain"]
    reason: str
    video_state: VideoState
    worth_another: bool = False
    at_aws: bool = False


def identity_of(deployment: str, bucket: str, key: str, version: str, min_confidence: float, edition: str) -> bytes:
    """SHA-256 over what makes a job the same job; `version` is the VersionId, else the ETag.

    Each part is preceded by its length, so that no two lists of parts give the same bytes.
    """
    digest = hashlib.sha256()
    for part in (deployment, bucket, key, version, repr(float(min_confidence)), edition):
        encoded = part.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


def token_of(identity: bytes, generation: int) -> str:
    """The ClientRequestToken: 64 hex digits (its pattern is `[a-zA-Z0-9-_]{1,64}`)."""
    return hashlib.sha256(identity + generation.to_bytes(8, "big")).hexdigest()


def tag_of(token: str) -> str:
    """The JobTag: `mw1.` and the token's first 40 digits; raw S3 keys do not fit JobTag's pattern."""
    return f"mw1.{token[:SYMBOLS_OF_TAG]}"

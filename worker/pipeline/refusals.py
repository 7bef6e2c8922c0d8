"""Why a video is not moderated, in words that its owner understands; no I/O."""

from __future__ import annotations

from worker.errors import AwsError
from worker.log import redacted
from worker.model import Object, ResolvedObject

LARGEST_BYTES = 10 * 2**30  # "10 GB" in limits.md of the Rekognition guide; a refusal at Start costs nothing either
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
EXTENSIONS = (".mp4", ".mov", ".avi", ".m4v")

_AT_START = {
    "400": "not readable: S3 refuses to look for the object; is its version id right?",
    "403": "not readable: the object does not exist, or access to it is denied",
    "404": "gone: the object does not exist",
    "NoSuchKey": "gone: the object does not exist",
    "NoSuchVersion": "gone: the object's version does not exist",
    "InvalidS3ObjectException": "unreadable object: Rekognition cannot get it from S3",
    "VideoTooLargeException": "too large: Rekognition takes 10 GB and 6 hours",
}

# (part of the StatusMessage, what it means, whether another paid try could end better). AWS documents none of these
# texts; most are the local service's. What is wrong with the bytes stays wrong. Where the object could not be got,
# the next try begins with HEAD, which tells at no cost what became of it.
_AFTER_FAILURE = (
    ("unsupported codec", "unsupported codec or format", False),
    ("unsupported format", "unsupported codec or format", False),
    ("empty file", "empty file", False),
    ("file is empty", "empty file", False),
    ("no video stream", "no video stream", False),
    ("is broken", "broken or incomplete file", False),
    ("no file to look at", "no file behind the object", False),
    ("file cannot be read", "unreadable file", True),
    ("unable to get object metadata", "unreadable object", True),
)


def rejected_at_head(found: ResolvedObject) -> str | None:
    """Why Rekognition would refuse the object, as far as HEAD can tell; None if it would not."""
    if found.size_bytes > LARGEST_BYTES:
        return f"too large: {found.size_bytes / 1e9:.1f} GB, Rekognition takes 10 GB"
    if found.size_bytes == 0:
        return "empty: the object has no bytes"
    if found.storage_class in ARCHIVED:
        return f"archived: storage class {found.storage_class}; restore the object first"
    if not found.key.lower().endswith(EXTENSIONS):
        return f"no video by its name: it does not end in {', '.join(EXTENSIONS)}"
    return None


def source_changed(named: Object, found: ResolvedObject) -> str | None:
    """Why the object is not the one that the source named; None if it is, or the source did not say."""
    if named.etag and found.etag and named.etag.strip('"') != found.etag and not named.version_id:
        return "source changed: the object's ETag is not the one in the source"
    return None


def rejected_at_start(error: AwsError) -> str:
    """A refusal of HEAD or Start that concerns the object."""
    return _AT_START.get(error.code, f"refused: {error}")


def failed_afterwards(status_message: str | None) -> tuple[str, bool]:
    """(reason, whether another paid try is worth it) for a job that FAILED; its StatusMessage is free text.

    A text that is known becomes one of few reasons, so that failures can be counted by reason.
    """
    said = (status_message or "").strip()
    for part, meaning, worth_another in _AFTER_FAILURE:
        if part in said.lower():
            return meaning, worth_another
    return f"job failed (Rekognition: {redacted(said)[:300] or 'no reason given'})", True

"""The videos of s3://synthetic-edge-cases/: one for each case that code around the API must be ready for.

Sizes, lengths, failures and counts of entries are the same whatever the seed.
"""

from __future__ import annotations

import hashlib

import msgspec

from worker.local.analysts.bucket_names import EDGE_CASES_BUCKET

_SECOND_MS = 1000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS
_BYTES_PER_MS = 300  # 2.4 Mbit/s: six hours stay below 10 GB
_ENTRIES = 250  # where their number is not the point


class EdgeCase(msgspec.Struct, frozen=True):
    """One version of a video; `number` counts the versions of its key, 1 is the oldest."""

    key: str
    duration_ms: int
    entries: int = _ENTRIES
    fails: bool = False
    storage_class: str = "STANDARD"
    number: int = 1
    stated_size_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """What the length makes plausible, unless the size is the point."""
        return self.duration_ms * _BYTES_PER_MS if self.stated_size_bytes is None else self.stated_size_bytes

    @property
    def version_id(self) -> str:
        """Always the same, so that a test may hold it."""
        return hashlib.blake2b(f"{self.key}/{self.number}".encode(), digest_size=16).hexdigest()


# In the order of keys, the latest version first.
EDGE_CASES = (
    EdgeCase("archived.mp4", _MINUTE_MS, storage_class="GLACIER"),
    EdgeCase("no-labels.mp4", _MINUTE_MS, entries=0),
    EdgeCase("one-label.mp4", _MINUTE_MS, entries=1),
    EdgeCase("one-more-than-a-page.mp4", 4 * _MINUTE_MS, entries=1001),
    EdgeCase("one-page.mp4", 4 * _MINUTE_MS, entries=1000),
    EdgeCase("over-10-gb.mp4", 2 * _HOUR_MS, stated_size_bytes=10 * 2**30 + 1),
    EdgeCase("over-6-hours.mp4", 6 * _HOUR_MS + _SECOND_MS),
    EdgeCase("six-hours.mp4", 6 * _HOUR_MS, entries=130_000),
    EdgeCase("three-versions.mp4", 3 * _MINUTE_MS, entries=30, number=3),
    EdgeCase("three-versions.mp4", 2 * _MINUTE_MS, entries=20, number=2),
    EdgeCase("three-versions.mp4", _MINUTE_MS, entries=10, number=1),
    EdgeCase("two-and-a-half-pages.mp4", 10 * _MINUTE_MS, entries=2500),
    EdgeCase("unsupported-codec.mp4", _MINUTE_MS, fails=True),
)


def edge_case(bucket: str, key: str, version_id: str | None) -> EdgeCase | None:
    """That version of the video, or its latest; None where the bucket is another or holds no such version."""
    if bucket != EDGE_CASES_BUCKET:
        return None
    versions = (case for case in EDGE_CASES if case.key == key)
    return next((case for case in versions if version_id in (None, case.version_id)), None)

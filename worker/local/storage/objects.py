"""Stored objects, and what every kind of bucket can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from worker.local.analysts.analysis import StoredVideo
from worker.local.protocol.identity import Caller

STANDARD = "STANDARD"
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
PART_BYTES = 8 * 2**20  # of the multipart uploads that made-up objects and files pass for: the `aws` command's own size
LONGEST_KEY_BYTES = 1024


class StoredObject(msgspec.Struct, frozen=True):
    """One version of an object; `etag` is without quotes, `version_id` None in a bucket without versions."""

    key: str
    size_bytes: int
    etag: str
    modified_at_seconds: float
    version_id: str | None
    path: Path | None
    storage_class: str = STANDARD
    is_latest: bool = True

    @property
    def is_readable(self) -> bool:
        """Whether its bytes can be had without restoring it first."""
        return self.storage_class not in ARCHIVED_CLASSES


class Bucket(Protocol):
    """A bucket of the service's own."""

    @property
    def region(self) -> str | None:
        """Where the bucket lives; None for one that is there in every region."""

    async def find(self, key: str, version_id: str | None) -> StoredObject | None:
        """That version of the object, or its latest; raises ServiceError for one that may not be read."""

    def listed(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """Latest versions whose keys begin with `prefix` and are not below `start`, in the order of keys.

        That order is the one of the keys' UTF-8 bytes, which is also the one of their code points. Taking an object may
        touch the disk: take them in a worker thread.
        """

    def listed_versions(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """The same with all versions of each object, the latest first."""

    def content(self, found: StoredObject, first_byte: int, length_bytes: int) -> AsyncGenerator[bytes, None]:
        """Those bytes of the object in chunks; raises ConnectionAbortedError once they can no longer be had."""


class Objects(Protocol):
    """Where videos are looked up when a job starts."""

    async def find(self, caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:
        """The video, or None where the caller finds no such object."""


def multipart_etag(digest: str, size_bytes: int) -> str:
    """An ETag of 32 hexadecimal digits and a count of parts: no client takes one of that form for an MD5."""
    return f"{digest}-{max(1, -(-size_bytes // PART_BYTES))}"

"""Stored objects, and what every kind of bucket can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from worker.local.analysts.analysis import StoredVideo
from worker.local.identity import Caller


class StoredObject(msgspec.Struct, frozen=True):
    """One object of a bucket; `etag` is without quotes, `version_id` None in a bucket without versions."""

    key: str
    size_bytes: int
    etag: str
    modified_at_seconds: float
    version_id: str | None
    path: Path | None


class Bucket(Protocol):
    """A bucket of the service's own. Both methods may touch the disk: call them in a worker thread."""

    def find(self, key: str) -> StoredObject | None:
        """The object of that key."""

    def listed(self, prefix: str, after: str) -> Iterator[StoredObject]:
        """Objects whose keys begin with `prefix` and come after `after`, in the order of the keys' UTF-8 bytes."""


class Objects(Protocol):
    """Where videos are looked up when a job starts."""

    async def find(self, caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:
        """The video, or None where the caller finds no such object."""

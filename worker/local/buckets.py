"""The service's own buckets by name."""

from __future__ import annotations

import anyio.to_thread

from worker.local.analysts.analysis import StoredVideo
from worker.local.archive import ARCHIVE_BUCKET, Archive
from worker.local.folders import Folders
from worker.local.identity import Caller
from worker.local.objects import Bucket, StoredObject


class Buckets:
    """The made-up archive and the published folders. They are there in every region and for every account."""

    def __init__(self, archive: Archive, folders: Folders) -> None:
        self._archive = archive
        self._folders = folders

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of that name."""
        return self._archive if name == ARCHIVE_BUCKET else self._folders.bucket(name)

    async def object(self, bucket: Bucket, key: str, version_id: str | None) -> StoredObject | None:
        """The object, if that version of it is there."""
        found = await anyio.to_thread.run_sync(bucket.find, key)
        return found if found and _is_version(found, version_id) else None

    async def find(self, caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:  # noqa: ARG002 (Objects of other kinds need the caller)
        """The video, or None where there is no such object."""
        if (holder := self.bucket(bucket)) is None or (found := await self.object(holder, key, version_id)) is None:
            return None
        return StoredVideo(bucket, key, version_id, found.size_bytes, found.path)


def _is_version(found: StoredObject, version_id: str | None) -> bool:
    """S3 names the only version of an object in a bucket without versions "null"."""
    return version_id is None or version_id == (found.version_id or "null")

"""The service's own buckets by name."""

from __future__ import annotations

from collections.abc import Iterator

from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.bucket_names import ARCHIVE_BUCKET, EDGE_CASES_BUCKET, region_of_archive
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError
from worker.local.storage.archive import Archive
from worker.local.storage.edge_cases import EdgeCases
from worker.local.storage.folders import Folders
from worker.local.storage.objects import Bucket


class Buckets:
    """The made-up buckets and the published folders, there for every account.

    They are there in every region as well; only `synthetic-archive-REGION` lives in the region of its name.
    """

    def __init__(self, archive: Archive, folders: Folders) -> None:
        self._folders = folders
        self._archive = archive
        self._made_up: dict[str, Bucket] = {ARCHIVE_BUCKET: archive, EDGE_CASES_BUCKET: EdgeCases()}

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of that name."""
        if (made_up := self._made_up.get(name)) is not None:
            return made_up
        if (region := region_of_archive(name)) is not None:
            return self._archive.living_in(region)
        return self._folders.bucket(name)

    def names(self) -> Iterator[str]:
        """The buckets that a listing shows: archives of single regions are there for whoever knows their names."""
        yield from self._made_up
        yield from self._folders.names()

    async def find(self, caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:
        """The video, or None where the caller, in its region, cannot read such an object."""
        holder = self.bucket(bucket)
        if holder is None or holder.region not in (None, caller.region):
            return None
        try:
            found = await holder.find(key, version_id)
        except ServiceError:
            return None
        if found is None or not found.is_readable:
            return None
        return StoredVideo(bucket, key, version_id, found.size_bytes, found.path)

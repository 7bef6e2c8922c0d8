"""The bucket s3://synthetic-edge-cases/: a few objects whose keys say what they show."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

from worker.local.analysts.bucket_names import EDGE_CASES_BUCKET
from worker.local.analysts.edge_cases import EDGE_CASES, EdgeCase, edge_case
from worker.local.storage.contents import made_up_bytes
from worker.local.storage.objects import StoredObject, multipart_etag

_SEED = 0  # the bucket is the same whatever the service's seed
_WRITTEN_AT_SECONDS = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
_DAY_SECONDS = 86_400


class EdgeCases:
    """A versioned bucket, there in every region."""

    region = None

    async def find(self, key: str, version_id: str | None) -> StoredObject | None:
        """That version of the object."""
        found = edge_case(EDGE_CASES_BUCKET, key, version_id)
        return None if found is None else _object(found)

    def listed(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """The latest versions in the order of keys."""
        return (item for item in self.listed_versions(prefix, start) if item.is_latest)

    def listed_versions(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """All versions, the latest of a key first."""
        return (_object(case) for case in EDGE_CASES if case.key.startswith(prefix) and case.key >= start)

    def content(self, found: StoredObject, first_byte: int, length_bytes: int) -> AsyncGenerator[bytes, None]:
        """Made-up bytes."""
        return made_up_bytes(_SEED, found.key, found.version_id, first_byte, length_bytes)


def _object(case: EdgeCase) -> StoredObject:
    digest = hashlib.blake2b(f"etag/{case.key}/{case.number}".encode(), digest_size=16).hexdigest()
    return StoredObject(
        key=case.key,
        size_bytes=case.size_bytes,
        etag=multipart_etag(digest, case.size_bytes),
        modified_at_seconds=_WRITTEN_AT_SECONDS + case.number * _DAY_SECONDS,
        version_id=case.version_id,
        path=None,
        storage_class=case.storage_class,
        is_latest=edge_case(EDGE_CASES_BUCKET, case.key, None) == case,
    )

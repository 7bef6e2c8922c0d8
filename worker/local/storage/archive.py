"""The made-up archive s3://synthetic-archive/: any number of videos, none of them held in memory.

Keys grow with the video's number, so that a listing may begin anywhere by bisection.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from itertools import takewhile

from worker.local.analysts.bucket_names import ARCHIVE_BUCKET
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.storage.contents import made_up_bytes
from worker.local.storage.objects import STANDARD, StoredObject, multipart_etag

_VIDEOS_PER_FOLDER = 200
_CAMERAS = 32
_FIRST_YEAR = 2024
_FIRST_SECONDS = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
_NUMBER = re.compile(r"/(\d{6,12}) ", re.ASCII)
_BYTES_PER_MS = (150, 650)  # 1.2 to 5.2 Mbit/s
_PLAIN_TITLES = ("Gate", "Lobby east", "Hall-2", "Car park", "Stage_left")
_ODD_TITLES = (
    'Überwachung "Tor 3" 🎬',
    "Q&A + encore",
    "café 100% naïve",
    "it's <live>; take #2",
    "東京 駅前",
    "a=b?c  two spaces",
    "smörgåsbord…",
)
_ODD_SHARE = 4  # one title in 4 is an odd one
_STORAGE_CLASSES = ("STANDARD_IA", "INTELLIGENT_TIERING", *[STANDARD] * 6)  # all of them can be read at once


class Archive:
    """A versioned bucket of `videos` objects, the same for the same seed, in one region or in all."""

    def __init__(self, analyst: SyntheticAnalyst, seed: int, videos: int, region: str | None = None) -> None:
        self.region = region
        self._analyst = analyst
        self._seed = seed
        self._numbers = range(videos)

    def living_in(self, region: str) -> Archive:
        """The same archive as a bucket of that region only."""
        return Archive(self._analyst, self._seed, len(self._numbers), region)

    async def find(self, key: str, version_id: str | None) -> StoredObject | None:
        """The object of that key, which has one version."""
        named = _NUMBER.search(key)
        if named is None or (number := int(named[1])) not in self._numbers or self._key(number) != key:
            return None
        found = self._object(number)
        return found if version_id in (None, found.version_id) else None

    def listed(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """Objects in the order of their keys, computed as they are taken."""
        first = bisect_left(self._numbers, max(prefix, start), key=self._key)
        objects = (self._object(number) for number in self._numbers[first:])
        return takewhile(lambda item: item.key.startswith(prefix), objects)

    def listed_versions(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """The one version of each object."""
        return self.listed(prefix, start)

    def content(self, found: StoredObject, first_byte: int, length_bytes: int) -> AsyncGenerator[bytes, None]:
        """Made-up bytes."""
        return made_up_bytes(self._seed, found.key, found.version_id, first_byte, length_bytes)

    def _key(self, number: int) -> str:
        month, camera = divmod(number // _VIDEOS_PER_FOLDER, _CAMERAS)
        year, month = divmod(month, 12)
        folder = f"{_FIRST_YEAR + year:04d}/{month + 1:02d}/camera-{camera + 1:02d}"
        return f"{folder}/{number:06d} {self._title(number)}.mp4"

    def _title(self, number: int) -> str:
        drawn = self._drawn(number, "title")[0]
        titles = _PLAIN_TITLES if drawn % _ODD_SHARE else _ODD_TITLES
        return titles[drawn // _ODD_SHARE % len(titles)]

    def _object(self, number: int) -> StoredObject:
        key = self._key(number)
        drawn = self._drawn(number, "object")
        least, most = _BYTES_PER_MS
        bytes_per_ms = least + int.from_bytes(drawn[:2]) % (most - least)
        size_bytes = self._analyst.duration_ms_of(ARCHIVE_BUCKET, key) * bytes_per_ms
        return StoredObject(
            key=key,
            size_bytes=size_bytes,
            etag=multipart_etag(drawn[:16].hex(), size_bytes),
            modified_at_seconds=_modified_at_seconds(number),
            version_id=drawn[16:].hex(),
            path=None,
            storage_class=_STORAGE_CLASSES[drawn[2] % len(_STORAGE_CLASSES)],
        )

    def _drawn(self, number: int, purpose: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}/{number}/{purpose}".encode(), digest_size=32).digest()


def _modified_at_seconds(number: int) -> float:
    return _FIRST_SECONDS + number % (365 * 86_400)

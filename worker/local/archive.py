"""The made-up archive s3://synthetic-archive/: any number of videos, none of them held in memory.

Keys grow with the video's number, so that a listing may begin anywhere by bisection.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.objects import StoredObject

ARCHIVE_BUCKET = "synthetic-archive"

_VIDEOS_PER_FOLDER = 200
_CAMERAS = 32
_FIRST_YEAR = 2024
_NUMBER = re.compile(r"/(\d{6,}) ")
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


class Archive:
    """A versioned bucket of `videos` objects, the same for the same seed."""

    def __init__(self, analyst: SyntheticAnalyst, seed: int, videos: int) -> None:
        self._analyst = analyst
        self._seed = seed
        self._numbers = range(videos)

    def find(self, key: str) -> StoredObject | None:
        """The object of that key."""
        number = _NUMBER.search(key)
        if number is None or int(number[1]) not in self._numbers or self._key(int(number[1])) != key:
            return None
        return self._object(int(number[1]))

    def listed(self, prefix: str, after: str) -> Iterator[StoredObject]:
        """Objects in the order of their keys, computed as they are taken."""
        first = max(
            bisect_left(self._numbers, prefix, key=self._key),
            bisect_right(self._numbers, after, key=self._key),
        )
        objects = (self._object(number) for number in self._numbers[first:])
        return takewhile(lambda item: item.key.startswith(prefix), objects)

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
        return StoredObject(
            key=key,
            size_bytes=self._analyst.duration_ms_of(ARCHIVE_BUCKET, key) * bytes_per_ms,
            etag=drawn[:16].hex(),
            modified_at_seconds=_modified_at_seconds(number),
            version_id=drawn[16:].hex(),
            path=None,
        )

    def _drawn(self, number: int, purpose: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}/{number}/{purpose}".encode(), digest_size=32).digest()


def _modified_at_seconds(number: int) -> float:
    return (datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC) + timedelta(seconds=number % (365 * 86_400))).timestamp()

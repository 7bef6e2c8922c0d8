"""Names within folders of the disk, remembered for as long as a folder has not changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Lock

import msgspec

from worker.local.cache import Cache

_LIMIT_BYTES = 128 * 2**20
_BYTES_PER_NAME = 120  # a name of 60 characters and its place in the list
_BYTES_PER_FOLDER = 1000
_SETTLED_SECONDS = 2.0  # a folder that changed this lately may change again without a new time


class _Scan(msgspec.Struct, frozen=True):
    """What a folder held when it had that state."""

    state: tuple[int, ...]
    names: list[str]


class Directories:
    """Sorted names of folders; may be asked from several threads at once."""

    def __init__(self, settled_seconds: float = _SETTLED_SECONDS) -> None:
        self._settled_ns = round(settled_seconds * 10**9)
        self._scans = Cache[Path, _Scan](_LIMIT_BYTES)
        self._lock = Lock()

    def names(self, folder: Path) -> list[str]:
        """The names of regular files, and those of folders followed by "/", in their order as parts of keys.

        Links and names that are not UTF-8 are left out; a folder that is gone or may not be read is empty.
        """
        try:
            return self._names(folder)
        except OSError:
            return []

    def _names(self, folder: Path) -> list[str]:
        now_ns, before = time.time_ns(), folder.lstat()
        state = (before.st_dev, before.st_ino, before.st_mtime_ns, before.st_ctime_ns)
        with self._lock:
            scan = self._scans.get(folder)
        if scan is not None and scan.state == state:
            return scan.names
        names = _scanned(folder)
        if now_ns - max(before.st_mtime_ns, before.st_ctime_ns) > self._settled_ns:
            with self._lock:
                self._scans.put(folder, _Scan(state, names), _BYTES_PER_FOLDER + _BYTES_PER_NAME * len(names))
        return names


def _scanned(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(name for entry in entries if (name := _key_part(entry)) is not None)


def _key_part(entry: os.DirEntry[str]) -> str | None:
    try:
        entry.name.encode()
    except UnicodeEncodeError:  # not UTF-8 on the disk
        return None
    if entry.is_file(follow_symlinks=False):
        return entry.name
    return entry.name + "/" if entry.is_dir(follow_symlinks=False) else None

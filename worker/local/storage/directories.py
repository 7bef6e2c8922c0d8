"""Names within folders of the disk, remembered for as long as a folder has not changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import msgspec

from worker.local.cache import Cache
from worker.local.storage.sorted_names import NO_NAMES, SortedNames, in_order

_MEMORY_BYTES = 128 * 2**20
_FILE_BYTES = 4 * 2**30  # of temporary files: 10^8 names of 40 characters
_BYTES_PER_FOLDER = 1000
_SETTLED_SECONDS = 2.0  # a folder that changed this lately may change again without a new time


class _Scan(msgspec.Struct, frozen=True):
    """What a folder held when it had that state."""

    state: tuple[int, ...]
    names: SortedNames


class Directories:
    """Sorted names of folders; may be asked from several threads at once."""

    def __init__(self, settled_seconds: float = _SETTLED_SECONDS) -> None:
        self._settled_ns = round(settled_seconds * 10**9)
        self._in_memory = Cache[Path, _Scan](_MEMORY_BYTES)
        self._in_files = Cache[Path, _Scan](_FILE_BYTES)
        self._lock = Lock()

    def names(self, folder: Path) -> SortedNames:
        """The names of regular files, and those of folders followed by "/", in their order as parts of keys.

        Links and names that are not UTF-8 are left out; a folder that is gone or may not be read is empty.

        Raises:
            OSError: the disk fails, or has no room to sort the names of a very large folder.

        """
        try:
            return self._names(folder)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return NO_NAMES

    def _names(self, folder: Path) -> SortedNames:
        now_ns, before = time.time_ns(), folder.lstat()
        state = (before.st_dev, before.st_ino, before.st_mtime_ns, before.st_ctime_ns)
        if (known := self._remembered(folder, state)) is not None:
            return known
        names = in_order(_scanned(folder))
        if now_ns - max(before.st_mtime_ns, before.st_ctime_ns) > self._settled_ns:
            self._remember(folder, _Scan(state, names))
        return names

    def _remembered(self, folder: Path, state: tuple[int, ...]) -> SortedNames | None:
        with self._lock:
            scans = (self._in_memory.get(folder), self._in_files.get(folder))
        return next((scan.names for scan in scans if scan is not None and scan.state == state), None)

    def _remember(self, folder: Path, scan: _Scan) -> None:
        scans = self._in_files if scan.names.is_in_file else self._in_memory
        with self._lock:
            scans.put(folder, scan, _BYTES_PER_FOLDER + scan.names.size_bytes)


def _scanned(folder: Path) -> Iterator[bytes]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if (name := _key_part(entry)) is not None:
                yield name


def _key_part(entry: os.DirEntry[str]) -> bytes | None:
    try:
        name = entry.name.encode()
    except UnicodeEncodeError:  # not UTF-8 on the disk
        return None
    if entry.is_file(follow_symlinks=False):
        return name
    return name + b"/" if entry.is_dir(follow_symlinks=False) else None

"""Folders of this machine, published as buckets: every regular file below the folder is an object.

Symbolic links are neither listed nor followed, so that nothing outside the folder can be reached.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread

from worker.local.database import Database
from worker.local.objects import StoredObject
from worker.local.refusals import ServiceError

_LONGEST_STEM = 40


class Folder:
    """A bucket without versions; `root` is a resolved path."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, key: str) -> StoredObject | None:
        """The file of that key, unless it is a link or lies behind one."""
        if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
            return None
        path = self._root / key
        try:
            if Path(os.path.realpath(path, strict=True)) != path:
                return None
            status = path.lstat()
        except OSError:
            return None
        return _object(key, path, status) if stat.S_ISREG(status.st_mode) else None

    def listed(self, prefix: str, after: str) -> Iterator[StoredObject]:
        """Files in the order of their keys; folders that hold none of the wanted keys are not opened."""
        return self._below(self._root, "", prefix, after)

    def _below(self, folder: Path, parent: str, prefix: str, after: str) -> Iterator[StoredObject]:
        for name, is_folder in _names(folder):
            key = parent + name
            if is_folder and _may_hold(key, prefix, after):
                yield from self._below(folder / name, key, prefix, after)
            elif not is_folder and key > after and key.startswith(prefix):
                try:
                    yield _object(key, folder / name, (folder / name).lstat())
                except OSError:  # deleted meanwhile
                    continue


def _names(folder: Path) -> list[tuple[str, bool]]:
    """(name, whether a folder) in the order of keys: a folder counts as its name and "/"."""
    try:
        with os.scandir(folder) as entries:
            names = [
                (entry.name + "/", True) if entry.is_dir(follow_symlinks=False) else (entry.name, False)
                for entry in entries
                if _is_text(entry.name)
                and (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
            ]
    except OSError:  # deleted meanwhile, or not ours to read
        return []
    return sorted(names)


def _is_text(name: str) -> bool:
    """Whether the name is UTF-8: others cannot be keys."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _may_hold(folder_key: str, prefix: str, after: str) -> bool:
    fits_prefix = folder_key.startswith(prefix) or prefix.startswith(folder_key)
    return fits_prefix and (folder_key > after or after.startswith(folder_key))


def _object(key: str, path: Path, status: os.stat_result) -> StoredObject:
    return StoredObject(
        key=key,
        size_bytes=status.st_size,
        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}",  # as aiohttp's FileResponse says it
        modified_at_seconds=status.st_mtime,
        version_id=None,
        path=path,
    )


class Folders:
    """The published folders, remembered in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, path: str) -> str:
        """Make a folder a bucket; the same folder is always the same bucket.

        Raises:
            ServiceError: it is not the absolute path of a folder.

        """
        root = await anyio.to_thread.run_sync(_root, path)
        bucket = bucket_name(root)
        await self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO folder VALUES (?, ?)", (bucket, root))
        )
        return bucket

    def bucket(self, name: str) -> Folder | None:
        """The folder that was published under the name."""
        rows = self._database.read("SELECT path FROM folder WHERE bucket = ?", name)
        return Folder(Path(rows[0][0])) if rows else None


def _root(path: str) -> str:
    if not path.startswith("/") or "\0" in path or not Path(path).is_dir():
        raise ServiceError("InvalidArgument", f"{path} is not the absolute path of a folder")
    return os.path.realpath(path)


def bucket_name(root: str) -> str:
    """A valid name from the folder's name, for people, and from its path, to be its own."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(root).name.lower())[:_LONGEST_STEM].strip("-") or "folder"
    return f"{stem}-{hashlib.sha256(root.encode()).hexdigest()[:8]}"

"""The folders of this machine that are published as buckets, and the names of those."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import anyio.to_thread

from worker.local.protocol.refusals import ServiceError
from worker.local.state.database import Database
from worker.local.storage.directories import Directories
from worker.local.storage.folder import Folder

_LONGEST_STEM = 40


class Folders:
    """The published folders, remembered in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._directories = Directories()

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
        return Folder(Path(rows[0][0]), self._directories) if rows else None

    def names(self) -> list[str]:
        """The buckets of all published folders."""
        return [bucket for (bucket,) in self._database.read("SELECT bucket FROM folder ORDER BY bucket")]


def _root(path: str) -> str:
    if not path.startswith("/") or "\0" in path or not os.path.isdir(path):  # noqa: PTH112 (pathlib's raises for a name that is too long)
        raise ServiceError("InvalidArgument", f"{path} is not the absolute path of a folder")
    return os.path.realpath(path)


def bucket_name(root: str) -> str:
    """A valid name from the folder's name, for people, and from its path, to be its own."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(root).name.lower())[:_LONGEST_STEM].strip("-") or "folder"
    return f"{stem}-{hashlib.sha256(root.encode()).hexdigest()[:8]}"

"""A folder of this machine as a bucket: every regular file below it is an object.

Symbolic links are neither listed nor followed, so that nothing outside the folder can be reached.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import anyio.to_thread

from worker.local.protocol.refusals import ServiceError
from worker.local.storage.beneath import open_beneath
from worker.local.storage.directories import Directories
from worker.local.storage.objects import LONGEST_KEY_BYTES, StoredObject, multipart_etag

_CHUNK_BYTES = 2**18
_ONLY_VERSION = "null"  # what S3 calls the version of an object that was written while its bucket kept none


class Folder:
    """A bucket without versions, there in every region; `root` is a resolved path."""

    region = None

    def __init__(self, root: Path, directories: Directories) -> None:
        self._root = root
        self._directories = directories

    async def find(self, key: str, version_id: str | None) -> StoredObject | None:
        """The file of that key, unless it is a link or lies behind one.

        Raises:
            ServiceError: the service may not read the file.

        """
        if version_id not in {None, _ONLY_VERSION}:
            return None
        return await anyio.to_thread.run_sync(self._found, key)

    def listed(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """Files in the order of their keys; folders that hold none of the wanted keys are not opened."""
        return self._below(self._root, "", prefix, max(prefix, start))

    def listed_versions(self, prefix: str, start: str) -> Iterator[StoredObject]:
        """The one version of each file."""
        return self.listed(prefix, start)

    async def content(self, found: StoredObject, first_byte: int, length_bytes: int) -> AsyncGenerator[bytes, None]:
        """The file's bytes, as long as it is the file that was found."""
        file = await anyio.to_thread.run_sync(self._opened, found)
        try:
            while length_bytes > 0:
                wanted_bytes = min(_CHUNK_BYTES, length_bytes)
                chunk = await anyio.to_thread.run_sync(_read, file, found, first_byte, wanted_bytes)
                yield chunk
                first_byte += len(chunk)
                length_bytes -= len(chunk)
        finally:
            os.close(file)

    def _found(self, key: str) -> StoredObject | None:
        if not _may_be_key(key):
            return None
        try:
            file = open_beneath(self._root, key.split("/"))
        except PermissionError:
            raise ServiceError("AccessDenied", "Access Denied", 403) from None
        except OSError:
            return None
        try:
            status = os.fstat(file)
        finally:
            os.close(file)
        return _object(key, self._root / key, status) if stat.S_ISREG(status.st_mode) else None

    def _opened(self, found: StoredObject) -> int:
        try:
            return open_beneath(self._root, found.key.split("/"))
        except OSError as error:
            raise ConnectionAbortedError(f"{found.key} is gone") from error

    def _below(self, folder: Path, parent: str, prefix: str, start: str) -> Iterator[StoredObject]:
        """Objects not below `start`, which is not below `prefix`, of the folder that `parent` stands for in keys."""
        first_part, slash, _ = start.removeprefix(parent).partition("/") if start.startswith(parent) else ("", "", "")
        for name in self._directories.names(folder).since(first_part + slash):
            key = parent + name
            if not (key.startswith(prefix) or prefix.startswith(key)):
                return
            if len(key.encode()) > LONGEST_KEY_BYTES:
                continue
            if name.endswith("/"):
                yield from self._below(folder / name, key, prefix, start)
            elif (found := _still_there(key, folder / name)) is not None:
                yield found


def _may_be_key(key: str) -> bool:
    try:
        is_short = len(key.encode()) <= LONGEST_KEY_BYTES
    except UnicodeEncodeError:
        return False
    return is_short and "\0" not in key and not any(part in {"", ".", ".."} for part in key.split("/"))


def _still_there(key: str, path: Path) -> StoredObject | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return _object(key, path, status) if stat.S_ISREG(status.st_mode) else None


def _object(key: str, path: Path, status: os.stat_result) -> StoredObject:
    return StoredObject(
        key=key,
        size_bytes=status.st_size,
        etag=_etag(status),
        modified_at_seconds=status.st_mtime,
        version_id=None,
        path=path,
    )


def _etag(status: os.stat_result) -> str:
    """Another one once the file's time or size is another: its bytes are not read for it."""
    seen = f"{status.st_mtime_ns}/{status.st_size}".encode()
    return multipart_etag(hashlib.blake2b(seen, digest_size=16).hexdigest(), status.st_size)


def _read(file: int, found: StoredObject, first_byte: int, length_bytes: int) -> bytes:
    chunk = os.pread(file, length_bytes, first_byte)
    if not chunk or _etag(os.fstat(file)) != found.etag:
        raise ConnectionAbortedError(f"{found.key} was changed while it was read")
    return chunk

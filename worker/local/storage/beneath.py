"""Opens files beneath a folder without following a link on the way, whatever is swapped meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # does not wait for the writer of a pipe


def open_beneath(root: Path, parts: list[str]) -> int:
    """A descriptor of the file at root/parts[0]/parts[1]/…; raises OSError where there is none without links."""
    with _parent(root, parts[:-1]) as parent:
        return os.open(parts[-1], _FILE, dir_fd=parent)


@contextmanager
def _parent(root: Path, parts: list[str]) -> Iterator[int]:
    folder = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)

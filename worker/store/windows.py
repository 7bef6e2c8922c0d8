"""Ids in windows: work on a table of any size is done in pieces of a bounded one."""

from __future__ import annotations

from collections.abc import Iterator


def windows(first: int | None, last: int | None, size: int) -> Iterator[tuple[int, int]]:
    """The ids from the first to the last in windows of that size, both ends of each counted; none for no ids."""
    if first is None or last is None:
        return
    for begin in range(first, last + 1, size):
        yield begin, min(begin + size - 1, last)

"""Sorted names end to end, one after another: in memory, or in a file where they are very many."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from mmap import ACCESS_READ, mmap

_END = b"\0"  # of each name: the one character but "/" that no file name has
_MOST_IN_MEMORY = 500_000  # names, of about 60 MB while they are sorted


class SortedNames:
    """Names in the order of their UTF-8 bytes, which is that of their characters. Any number of threads may read it."""

    def __init__(self, names: bytes | mmap) -> None:
        self._names = names

    def since(self, first: str) -> Iterator[str]:
        """The names that are not below `first`."""
        for name in self.encoded(self._place_of(first.encode(errors="surrogatepass"))):
            yield name.decode()

    def encoded(self, place: int = 0) -> Iterator[bytes]:
        """The names from the one that begins at the place."""
        while (end := self._names.find(_END, place)) >= 0:
            yield self._names[place:end]
            place = end + 1

    @property
    def size_bytes(self) -> int:
        """How long they are in all."""
        return len(self._names)

    @property
    def is_in_file(self) -> bool:
        """Whether they take no memory."""
        return isinstance(self._names, mmap)

    def _place_of(self, first: bytes) -> int:
        """Where the least name not below `first` begins."""
        low, high = 0, len(self._names)
        while low < high:
            begin = max(low, self._names.rfind(_END, low, (low + high) // 2) + 1)
            end = self._names.find(_END, begin)
            if self._names[begin:end] < first:
                low = end + 1
            else:
                high = begin
        return low


NO_NAMES = SortedNames(b"")


def in_order(names: Iterable[bytes], most_in_memory: int = _MOST_IN_MEMORY) -> SortedNames:
    """Sort names; more than fit into memory are sorted part by part, and merged in a file that goes with them.

    Raises:
        OSError: there is no room for temporary files.

    """
    left = iter(names)
    part = sorted(islice(left, most_in_memory))
    if len(part) < most_in_memory:
        return SortedNames(b"".join(name + _END for name in part))
    parts = []
    while part:
        parts.append(_in_file(part))
        part = sorted(islice(left, most_in_memory))
    return _in_file(heapq.merge(*(part.encoded() for part in parts)))


def _in_file(names: Iterable[bytes]) -> SortedNames:
    with tempfile.TemporaryFile() as file:
        file.writelines(name + _END for name in names)
        file.flush()
        return SortedNames(mmap(file.fileno(), 0, access=ACCESS_READ))

"""Which of the objects that a source names are meant: by key, size, date of the last change, and storage class."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from worker.aws.manifests import BadRow
from worker.errors import UsageError
from worker.model import Object


class Need(Struct, frozen=True):
    """What filters go by, and a source may not tell: an attribute of objects, its words, and the options."""

    attribute: str
    words: str
    options: str

    def untold(self, source: str, advice: str) -> UsageError:
        """What to say where it is not told."""
        return UsageError(f"{source} does not tell {self.words}, by which {self.options} choose; {advice}")


KEY = Need("key", "the key", "--match and --exclude")
SIZE = Need("size_bytes", "the size", "--min-size and --max-size")
DATE = Need("modified_at", "the date of the last change", "--since and --until")
STORAGE_CLASS = Need("storage_class", "the storage class", "--storage-class")


class Filters(Struct, frozen=True):
    """What an object must be like; what is not set is no condition.

    Patterns are of whole keys, in which `*` stands for any text, slashes included. A key must fit one of `match`, if
    there are any, and none of `exclude`. Both sizes are included, and of the dates the first.
    """

    match: Sequence[str] = ()
    exclude: Sequence[str] = ()
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    storage_classes: Sequence[str] = ()


class Choice:
    """Filters, made ready to be asked of one object after the other."""

    def __init__(self, filters: Filters) -> None:
        conditions = list(_conditions(filters))
        self.needs = list(dict.fromkeys(need for need, _ in conditions))
        self._tests = [(need.attribute, test) for need, test in conditions]

    @property
    def takes_all(self) -> bool:
        """True if there is no condition."""
        return not self._tests

    def takes(self, named: Object) -> bool:
        """Whether the object is meant; what is needed must be known of it."""
        return all(test(getattr(named, attribute)) for attribute, test in self._tests)

    def unknown_of(self, named: Object) -> Need | None:
        """What is needed and not known of the object."""
        return next((need for need in self.needs if getattr(named, need.attribute, None) is None), None)

    def refuse_untold(self, told: Collection[Need], source: str, advice: str) -> None:
        """Refuse a source that does not tell what is needed.

        Raises:
            UsageError: with the advice.

        """
        if untold := next((need for need in self.needs if need not in told), None):
            raise untold.untold(source, advice)


def chosen(
    rows: AsyncIterator[Object | BadRow], choice: Choice, source: str, leave_out: Callable[[], None]
) -> AsyncIterator[Object | BadRow]:
    """The rows that are meant, and the bad ones; `leave_out` is called for each of the others."""
    return rows if choice.takes_all else _chosen(rows, choice, source, leave_out)


async def _chosen(
    rows: AsyncIterator[Object | BadRow], choice: Choice, source: str, leave_out: Callable[[], None]
) -> AsyncGenerator[Object | BadRow, None]:
    number = 0
    async for row in rows:
        number += 1
        if isinstance(row, BadRow):
            yield row
        elif unknown := choice.unknown_of(row):
            yield BadRow(source, number, f"does not tell {unknown.words}, by which {unknown.options} choose")
        elif choice.takes(row):
            yield row
        else:
            leave_out()


def _conditions(filters: Filters) -> Iterator[tuple[Need, Callable[[Any], bool]]]:
    """What must be known, and the test of it."""
    if filters.match:
        fits = _pattern(filters.match)
        yield KEY, lambda key: fits(key) is not None
    if filters.exclude:
        excluded = _pattern(filters.exclude)
        yield KEY, lambda key: excluded(key) is None
    if (least := filters.min_size_bytes) is not None:
        yield SIZE, lambda size_bytes: size_bytes >= least
    if (most := filters.max_size_bytes) is not None:
        yield SIZE, lambda size_bytes: size_bytes <= most
    if (since := filters.since) is not None:
        yield DATE, lambda modified_at: modified_at >= since
    if (until := filters.until) is not None:
        yield DATE, lambda modified_at: modified_at < until
    if filters.storage_classes:
        yield STORAGE_CLASS, frozenset(filters.storage_classes).__contains__


def _pattern(globs: Sequence[str]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(map(fnmatch.translate, globs))).match


EVERYTHING = Choice(Filters())
"""The choice of whoever has no filters."""

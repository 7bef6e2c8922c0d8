"""Walks through the keys of a bucket in their order; keys that share a part up to a delimiter count as one entry.

The order of keys is that of their code points, which is the order of their UTF-8 bytes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from worker.local.storage.objects import StoredObject

_LAST_CHARACTER = "\U0010ffff"
_FIRST_SURROGATE, _BEHIND_SURROGATES = 0xD800, 0xE000  # UTF-8 has no surrogates, so no key has

Listed = Callable[[str, str], Iterator[StoredObject]]


class CommonPrefix(msgspec.Struct, frozen=True):
    """What keys share up to the first delimiter behind the prefix that is listed."""

    text: str


Entry = StoredObject | CommonPrefix


class Page(msgspec.Struct, frozen=True):
    """Entries of a listing, and whether there are more behind them."""

    entries: list[Entry]
    is_truncated: bool


def first_page(entries: Iterator[Entry], most: int) -> Page:
    """Up to `most` entries; a page that may hold none is said to be complete, as S3 says it."""
    taken = list(islice(entries, most + 1)) if most else []
    return Page(taken[:most], len(taken) > most)


def walk(listed: Listed, prefix: str, delimiter: str, start: str | None) -> Iterator[Entry]:
    """Entries whose keys begin with `prefix` and are not below `start`; None is behind all keys.

    `listed(prefix, start)` yields the objects. It is begun anew behind each common prefix of two keys or more, so that
    those behind the second are never looked at.
    """
    while start is not None:
        group: str | None = None
        for item in listed(prefix, start):
            if group is not None and item.key.startswith(group):
                break
            group = common_prefix(item.key, prefix, delimiter)
            yield item if group is None else CommonPrefix(group)
        else:
            return
        start = behind_prefix(group)


def common_prefix(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that the key counts towards, if there is a delimiter in it behind the prefix."""
    found_at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if found_at < 0 else key[: found_at + len(delimiter)]


def behind(entry: Entry) -> str | None:
    """Where a walk goes on behind the entry."""
    return behind_prefix(entry.text) if isinstance(entry, CommonPrefix) else behind_key(entry.key)


def behind_key(key: str) -> str:
    """The least text above the key."""
    return key + "\0"


def behind_prefix(prefix: str) -> str | None:
    """The least text above all that begin with the prefix; None where there is no such text."""
    if not (kept := prefix.rstrip(_LAST_CHARACTER)):
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_BEHIND_SURROGATES if following == _FIRST_SURROGATE else following)

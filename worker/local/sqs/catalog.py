"""The rows of queues: those that were created, or changed, or are dead-letter queues."""

from __future__ import annotations

import sqlite3

import msgspec

_COLUMNS = "queue, attributes, dead_letter_queue, created_at_ms, modified_at_ms, purged_at_ms, deleted_at_ms"
_PAST_EVERY_NAME = "\x7f"  # sorts after all characters of a queue's name


class Row(msgspec.Struct, frozen=True):
    """A queue as it is kept, by the key of its name; `attributes` are those that were set."""

    queue: str
    attributes: dict[str, str]
    dead_letter_queue: str | None
    created_at_ms: int
    modified_at_ms: int
    purged_at_ms: int | None = None
    deleted_at_ms: int | None = None


def find(connection: sqlite3.Connection, queue: str) -> Row | None:
    """The queue of the key, also one that was deleted."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM queue WHERE queue = ?", (queue,)).fetchone()  # noqa: S608 (a constant)
    if row is None:
        return None
    key, attributes, *rest = row
    return Row(key, msgspec.json.decode(attributes, type=dict[str, str]), *rest)


def save(connection: sqlite3.Connection, row: Row) -> None:
    """Keep the queue as it is now."""
    values = list(msgspec.structs.astuple(row))
    values[1] = msgspec.json.encode(row.attributes).decode()
    connection.execute(f"INSERT OR REPLACE INTO queue ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 (a constant)


def remove(connection: sqlite3.Connection, queue: str) -> None:
    """Forget the queue."""
    connection.execute("DELETE FROM queue WHERE queue = ?", (queue,))


def begins_with(connection: sqlite3.Connection, start: str, after: str, most: int) -> list[str]:
    """The queues whose keys begin with `start`, in their order, from behind `after`."""
    rows = connection.execute(
        """
        SELECT queue FROM queue
         WHERE queue >= ? AND queue < ? AND queue > ? AND deleted_at_ms IS NULL
         ORDER BY queue LIMIT ?
        """,
        (start, start + _PAST_EVERY_NAME, after, most),
    )
    return [queue for (queue,) in rows]


def sources(connection: sqlite3.Connection, dead_letter_queue: str, after: str, most: int) -> list[str]:
    """The queues whose redrive policy names the queue, in their order, from behind `after`."""
    rows = connection.execute(
        """
        SELECT queue FROM queue
         WHERE dead_letter_queue = ? AND queue > ? AND deleted_at_ms IS NULL
         ORDER BY queue LIMIT ?
        """,
        (dead_letter_queue, after, most),
    )
    return [queue for (queue,) in rows]

"""The rows of queue messages. Every function works in the transaction of the connection that it is given."""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from enum import Enum

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A message as a receive hands it out."""

    message_id: str
    receipt_handle: str
    body: str
    sent_at_ms: int
    receive_count: int
    first_received_at_ms: int


class Change(Enum):
    """What became of a change of a message's visibility."""

    DONE = "done"
    NOT_IN_FLIGHT = "not in flight"
    UNREADABLE_HANDLE = "unreadable handle"


def put(connection: sqlite3.Connection, queue: str, body: str, now_ms: int, visible_at_ms: int) -> str:
    """Add a message; gives its MessageId."""
    message_id = str(uuid.uuid4())
    connection.execute(
        "INSERT INTO message (queue, message_id, body, sent_at_ms, visible_at_ms) VALUES (?, ?, ?, ?, ?)",
        (queue, message_id, body, now_ms, visible_at_ms),
    )
    return message_id


def next_visible_at_ms(connection: sqlite3.Connection, queue: str) -> int | None:
    """When the first message of the queue is or becomes visible; None for an empty queue."""
    row = connection.execute("SELECT min(visible_at_ms) FROM message WHERE queue = ?", (queue,)).fetchone()
    return None if row is None else row[0]


def take(connection: sqlite3.Connection, queue: str, most: int, now_ms: int, visible_at_ms: int) -> list[Message]:
    """Hand out up to `most` visible messages and hide each until `visible_at_ms`."""
    numbers = connection.execute(
        "SELECT number FROM message WHERE queue = ? AND visible_at_ms <= ? ORDER BY visible_at_ms LIMIT ?",
        (queue, now_ms, most),
    ).fetchall()
    return [_hand_out(connection, number, now_ms, visible_at_ms) for (number,) in numbers]


def delete(connection: sqlite3.Connection, queue: str, receipt_handle: str) -> bool:
    """Remove the message; False for an unreadable handle. One handed out again since then stays, as on AWS."""
    number = _number_of(receipt_handle)
    if number is None:
        return False
    connection.execute(
        "DELETE FROM message WHERE number = ? AND queue = ? AND receipt = ?", (number, queue, receipt_handle)
    )
    return True


def change_visibility(
    connection: sqlite3.Connection, queue: str, receipt_handle: str, now_ms: int, visible_at_ms: int
) -> Change:
    """Hide the message until `visible_at_ms`."""
    number = _number_of(receipt_handle)
    if number is None:
        return Change.UNREADABLE_HANDLE
    changed = connection.execute(
        "UPDATE message SET visible_at_ms = ? WHERE number = ? AND queue = ? AND receipt = ? AND visible_at_ms > ?",
        (visible_at_ms, number, queue, receipt_handle, now_ms),
    ).rowcount
    return Change.DONE if changed else Change.NOT_IN_FLIGHT


def counts(connection: sqlite3.Connection, queue: str, now_ms: int) -> tuple[int, int, int]:
    """How many messages are visible, handed out, and delayed."""
    return connection.execute(  # type: ignore[no-any-return]  # a row of an aggregate
        """
        SELECT count(*) FILTER (WHERE visible_at_ms <= :now),
               count(*) FILTER (WHERE visible_at_ms > :now AND receipt IS NOT NULL),
               count(*) FILTER (WHERE visible_at_ms > :now AND receipt IS NULL)
          FROM message WHERE queue = :queue
        """,
        {"now": now_ms, "queue": queue},
    ).fetchone()


def purge(connection: sqlite3.Connection, queue: str) -> None:
    """Remove every message of the queue."""
    connection.execute("DELETE FROM message WHERE queue = ?", (queue,))


def forget_older(connection: sqlite3.Connection, sent_before_ms: int) -> None:
    """Remove what was sent before the retention period."""
    connection.execute("DELETE FROM message WHERE sent_at_ms < ?", (sent_before_ms,))


def _hand_out(connection: sqlite3.Connection, number: int, now_ms: int, visible_at_ms: int) -> Message:
    handle = f"{number:x}-{secrets.token_hex(16)}"
    row = connection.execute(
        """
        UPDATE message
           SET visible_at_ms = ?, receipt = ?, receive_count = receive_count + 1,
               first_received_at_ms = coalesce(first_received_at_ms, ?)
         WHERE number = ?
        RETURNING message_id, receipt, body, sent_at_ms, receive_count, first_received_at_ms
        """,
        (visible_at_ms, handle, now_ms, number),
    ).fetchone()
    return Message(*row)


def _number_of(receipt_handle: str) -> int | None:
    try:
        return int(receipt_handle.partition("-")[0], 16)
    except ValueError:
        return None

"""The rows of queue messages. Every function works in the transaction of the connection that it is given.

A queue may hold millions of them: each statement goes by an index, and none but `counts` and `held` counts rows.
"""

from __future__ import annotations

import sqlite3
import uuid
from enum import Enum

import msgspec

from worker.local.sqs.receipts import new_handle

_CHUNK = 10_000  # rows that one transaction removes: keeps it to some tens of milliseconds


class Message(msgspec.Struct, frozen=True):
    """A message as a receive hands it out; the attributes are JSON objects."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: str | None
    system_attributes: str | None
    dead_letter_source: str | None
    sent_at_ms: int
    receive_count: int
    first_received_at_ms: int


class Redrive(msgspec.Struct, frozen=True):
    """Where messages of the queue `source_arn` go that were received `most_receives` times."""

    source_arn: str
    dead_letter_queue: str
    most_receives: int


class Change(Enum):
    """What became of a change of a message's visibility."""

    DONE = "done"
    GONE = "deleted, or received again since"
    NOT_IN_FLIGHT = "not in flight"
    TOO_LONG = "hidden for too long in total"


PUT = """
INSERT INTO message (queue, message_id, body, attributes, system_attributes, sent_at_ms, visible_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
NEXT_VISIBLE = "SELECT min(visible_at_ms) FROM message WHERE queue = ?"
OLDEST = "SELECT min(sent_at_ms) FROM message WHERE queue = ?"
VISIBLE = """
SELECT number FROM message
 WHERE queue = :queue AND visible_at_ms <= :now AND sent_at_ms > :sent_after
 ORDER BY visible_at_ms LIMIT :most
"""
HAND_OUT = """
UPDATE message
   SET visible_at_ms = :visible_at, receipt = :receipt, receive_count = receive_count + 1,
       first_received_at_ms = coalesce(first_received_at_ms, :now), received_at_ms = :now
 WHERE number = :number
RETURNING message_id, receipt, body, attributes, system_attributes, dead_letter_source, sent_at_ms, receive_count,
          first_received_at_ms
"""
REDRIVE = """
UPDATE message
   SET queue = :dead_letter_queue, dead_letter_source = :source, visible_at_ms = :now, receipt = NULL
 WHERE number IN (
           SELECT number FROM message WHERE queue = :queue AND visible_at_ms <= :now ORDER BY visible_at_ms LIMIT :most
       )
   AND receive_count >= :most_receives
   AND EXISTS (SELECT 1 FROM queue WHERE queue = :dead_letter_queue AND deleted_at_ms IS NULL)
"""
DELETE = "DELETE FROM message WHERE number = ? AND queue = ? AND receipt = ? RETURNING visible_at_ms"
FIND_HELD = "SELECT receipt, visible_at_ms, received_at_ms FROM message WHERE number = ? AND queue = ?"
HIDE = "UPDATE message SET visible_at_ms = ? WHERE number = ?"
COUNT_VISIBLE = "SELECT count(*) FROM message WHERE queue = ? AND visible_at_ms <= ?"
COUNT_HIDDEN = "SELECT count(*) FROM message WHERE queue = ? AND visible_at_ms > ?"
COUNT_HELD = "SELECT count(*) FROM message WHERE queue = ? AND visible_at_ms > ? AND receipt IS NOT NULL"
NEXT_RETURN = "SELECT min(visible_at_ms) FROM message WHERE queue = ? AND visible_at_ms > ? AND receipt IS NOT NULL"
FORGET = """
DELETE FROM message WHERE number IN (SELECT number FROM message WHERE queue = ? AND sent_at_ms <= ? LIMIT ?)
"""
FORGET_OLDER = """
WITH RECURSIVE name (queue) AS (
    SELECT min(queue) FROM message
     UNION ALL
    SELECT (SELECT min(queue) FROM message WHERE queue > name.queue) FROM name WHERE name.queue IS NOT NULL
)
DELETE FROM message WHERE queue IN (SELECT queue FROM name) AND sent_at_ms < ?
"""


def put(
    connection: sqlite3.Connection,
    queue: str,
    body: str,
    now_ms: int,
    visible_at_ms: int,
    attributes: str | None = None,
    system_attributes: str | None = None,
) -> str:
    """Add a message; gives its MessageId."""
    message_id = str(uuid.uuid4())
    connection.execute(PUT, (queue, message_id, body, attributes, system_attributes, now_ms, visible_at_ms))
    return message_id


def next_visible_at_ms(connection: sqlite3.Connection, queue: str) -> int | None:
    """When the first message of the queue is or becomes visible; None for an empty queue."""
    return _value(connection, NEXT_VISIBLE, queue)


def oldest_sent_at_ms(connection: sqlite3.Connection, queue: str) -> int | None:
    """When the oldest message of the queue was sent; None for an empty queue."""
    return _value(connection, OLDEST, queue)


def redrive(connection: sqlite3.Connection, queue: str, most: int, now_ms: int, policy: Redrive) -> int:
    """Move those of the next `most` visible messages that were received often enough; gives how many were.

    They keep their MessageId, the moment they were sent and their count of receives. They stay where the dead-letter
    queue is gone.
    """
    moved = {
        "queue": queue,
        "now": now_ms,
        "most": most,
        "dead_letter_queue": policy.dead_letter_queue,
        "source": policy.source_arn,
        "most_receives": policy.most_receives,
    }
    return connection.execute(REDRIVE, moved).rowcount


def take(
    connection: sqlite3.Connection, queue: str, most: int, now_ms: int, visible_at_ms: int, sent_after_ms: int
) -> list[Message]:
    """Hand out up to `most` visible messages that were sent after a moment, and hide each until `visible_at_ms`."""
    chosen = {"queue": queue, "now": now_ms, "sent_after": sent_after_ms, "most": most}
    numbers = connection.execute(VISIBLE, chosen).fetchall()
    return [_hand_out(connection, queue, number, now_ms, visible_at_ms) for (number,) in numbers]


def delete(connection: sqlite3.Connection, queue: str, number: int, receipt_handle: str) -> int | None:
    """Remove the message, unless it has been handed out again since; gives when it would have become visible."""
    row = connection.execute(DELETE, (number, queue, receipt_handle)).fetchone()
    return None if row is None else int(row[0])


def change_visibility(
    connection: sqlite3.Connection,
    queue: str,
    number: int,
    receipt_handle: str,
    now_ms: int,
    visible_at_ms: int,
    longest_ms: int,
) -> Change:
    """Hide the message until `visible_at_ms`, which may be `longest_ms` after its receive at most."""
    row = connection.execute(FIND_HELD, (number, queue)).fetchone()
    if row is None or row[0] != receipt_handle:
        return Change.GONE
    _, hidden_until_ms, received_at_ms = row
    if hidden_until_ms <= now_ms:
        return Change.NOT_IN_FLIGHT
    if visible_at_ms > received_at_ms + longest_ms:
        return Change.TOO_LONG
    connection.execute(HIDE, (visible_at_ms, number))
    return Change.DONE


def counts(connection: sqlite3.Connection, queue: str, now_ms: int) -> tuple[int, int, int]:
    """How many messages are visible, in flight, and delayed."""
    visible, hidden = (_count(connection, statement, queue, now_ms) for statement in (COUNT_VISIBLE, COUNT_HIDDEN))
    in_flight = held(connection, queue, now_ms)
    return visible, in_flight, hidden - in_flight


def held(connection: sqlite3.Connection, queue: str, now_ms: int) -> int:
    """How many messages are in flight."""
    return _count(connection, COUNT_HELD, queue, now_ms)


def next_return_at_ms(connection: sqlite3.Connection, queue: str, now_ms: int) -> int | None:
    """When the first message in flight comes back; None where none is."""
    return _value(connection, NEXT_RETURN, queue, now_ms)


def forget(connection: sqlite3.Connection, queue: str, sent_until_ms: int) -> None:
    """Remove a good many of the queue's messages that were sent until then; there may be more."""
    connection.execute(FORGET, (queue, sent_until_ms, _CHUNK))


def forget_older(connection: sqlite3.Connection, sent_before_ms: int) -> None:
    """Remove what was sent before the longest retention period, whatever its queue."""
    connection.execute(FORGET_OLDER, (sent_before_ms,))


def _hand_out(connection: sqlite3.Connection, queue: str, number: int, now_ms: int, visible_at_ms: int) -> Message:
    handed = {"number": number, "receipt": new_handle(queue, number), "now": now_ms, "visible_at": visible_at_ms}
    return Message(*connection.execute(HAND_OUT, handed).fetchone())


def _value(connection: sqlite3.Connection, statement: str, *values: object) -> int | None:
    row = connection.execute(statement, values).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _count(connection: sqlite3.Connection, statement: str, queue: str, now_ms: int) -> int:
    return int(connection.execute(statement, (queue, now_ms)).fetchone()[0])

"""Queues with long polling, kept in the database."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

import anyio
import msgspec

from worker.local.sqs import messages
from worker.local.sqs.in_flight import InFlight
from worker.local.sqs.messages import Change, Message, Redrive
from worker.local.sqs.receipts import number_of
from worker.local.state.database import Database

LONGEST_HIDDEN_SECONDS = 43_200  # from the receive, however often it is extended
_FULL_PAUSE_SECONDS = 0.2  # of a long poll at the limit of messages in flight: most come free by deletions


class NewMessage(msgspec.Struct, frozen=True):
    """A message to be sent; the attributes are JSON objects."""

    body: str
    delay_seconds: int
    attributes: str | None = None
    system_attributes: str | None = None


class Receive(msgspec.Struct, frozen=True):
    """What a receive asks for, with what its queue has to say to it."""

    queue: str
    most: int
    wait_seconds: int
    visibility_seconds: int
    retention_seconds: int
    redrive: Redrive | None


class Taken(msgspec.Struct, frozen=True):
    """What a receive gets; nothing at all where the queue `is_full` of messages in flight."""

    messages: list[Message]
    moved: bool = False
    is_full: bool = False


class Hiding(msgspec.Struct, frozen=True):
    """A change of the visibility timeout of the message that was received with the handle."""

    receipt_handle: str
    seconds: int


class Queues:
    """Receives wait here for messages to arrive or to come back.

    A batch is one write. An unreadable receipt handle is for the caller to refuse; here it changes nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock
        self._in_flight = InFlight()
        self._arrivals: dict[str, anyio.Event] = {}
        self._closing = False

    async def send(self, queue: str, batch: Sequence[NewMessage]) -> list[str]:
        """Add messages; gives their MessageIds."""
        sent_at_ms = self._clock.now_ms()

        def put(connection: sqlite3.Connection) -> list[str]:
            return [
                messages.put(
                    connection,
                    queue,
                    message.body,
                    sent_at_ms,
                    self._clock.after(message.delay_seconds),
                    message.attributes,
                    message.system_attributes,
                )
                for message in batch
            ]

        message_ids = await self._database.write(put)
        self.announce(queue)
        return message_ids

    async def receive(self, receive: Receive) -> Taken:
        """Up to so many messages; waits for the first. A long poll waits for room too, a short one tells of it."""
        deadline = anyio.current_time() + receive.wait_seconds
        while True:
            arrival = self._arrivals.setdefault(receive.queue, anyio.Event())
            await self.forget_expired(receive.queue, receive.retention_seconds)
            pause_seconds = self._visible_in_seconds(receive.queue)
            if pause_seconds <= 0:
                taken = await self._take(receive)
                if taken.messages or (taken.is_full and receive.wait_seconds == 0):
                    return taken
                pause_seconds = _FULL_PAUSE_SECONDS if taken.is_full else 0
            left_seconds = deadline - anyio.current_time()
            if left_seconds <= 0 or self._closing:
                return Taken([])
            with anyio.move_on_after(min(left_seconds, max(pause_seconds, 0.001))):
                await arrival.wait()

    async def delete(self, queue: str, receipt_handles: Sequence[str]) -> None:
        """Remove the messages, but those that have been handed out again since, as AWS may."""

        def delete(connection: sqlite3.Connection) -> None:
            for handle in receipt_handles:
                if (number := number_of(queue, handle)) is not None:
                    visible_at_ms = messages.delete(connection, queue, number, handle)
                    if visible_at_ms is not None and visible_at_ms > self._clock.now_ms():
                        self._in_flight.released(queue)

        await self._database.write(delete)

    async def change_visibility(self, queue: str, batch: Sequence[Hiding]) -> list[Change]:
        """Hide messages for so many seconds from now."""

        def change(connection: sqlite3.Connection) -> list[Change]:
            return [self._change(connection, queue, hiding) for hiding in batch]

        changes = await self._database.write(change)
        self.announce(queue)
        return changes

    async def forget_expired(self, queue: str, retention_seconds: int) -> None:
        """Remove the messages whose retention period is over."""
        await self._forget(queue, self._clock.now_ms() - retention_seconds * 1000)

    async def purge(self, queue: str) -> None:
        """Remove every message that has been sent so far."""
        await self._forget(queue, self._clock.now_ms())
        await self._database.write(lambda _connection: self._in_flight.forget(queue))

    def announce(self, queue: str) -> None:
        """Wake the receives that wait on the queue: its messages have changed."""
        if arrival := self._arrivals.pop(queue, None):
            arrival.set()

    def close(self) -> None:
        """Answer every waiting receive with what there is, from now on at once."""
        self._closing = True
        for queue in list(self._arrivals):
            self.announce(queue)

    def _visible_in_seconds(self, queue: str) -> float:
        visible_at_ms = messages.next_visible_at_ms(self._database.reader, queue)
        return math.inf if visible_at_ms is None else self._clock.seconds_until(visible_at_ms)

    async def _take(self, receive: Receive) -> Taken:
        taken = await self._database.write(lambda connection: self._taken(connection, receive))
        if taken.moved and receive.redrive is not None:
            self.announce(receive.redrive.dead_letter_queue)
        return taken

    def _taken(self, connection: sqlite3.Connection, receive: Receive) -> Taken:
        queue, now_ms = receive.queue, self._clock.now_ms()
        moved = False
        if receive.redrive is not None:
            while messages.redrive(connection, queue, receive.most, now_ms, receive.redrive):
                moved = True
        room = self._in_flight.room(connection, queue, receive.most, now_ms)
        visible_at_ms = self._clock.after(receive.visibility_seconds)
        sent_after_ms = now_ms - receive.retention_seconds * 1000
        taken = messages.take(connection, queue, room, now_ms, visible_at_ms, sent_after_ms)
        self._in_flight.took(queue, len(taken))
        return Taken(taken, moved, is_full=room == 0)

    def _change(self, connection: sqlite3.Connection, queue: str, hiding: Hiding) -> Change:
        number = number_of(queue, hiding.receipt_handle)
        if number is None:
            return Change.GONE
        now_ms, visible_at_ms = self._clock.now_ms(), self._clock.after(hiding.seconds)
        longest_ms = self._clock.after(LONGEST_HIDDEN_SECONDS) - now_ms
        change = messages.change_visibility(
            connection, queue, number, hiding.receipt_handle, now_ms, visible_at_ms, longest_ms
        )
        if change is Change.DONE and hiding.seconds == 0:
            self._in_flight.released(queue)
        elif change is Change.DONE:
            self._in_flight.returns_at(queue, visible_at_ms)
        return change

    async def _forget(self, queue: str, sent_until_ms: int) -> None:
        while self._oldest_sent_at_ms(queue) <= sent_until_ms:
            await self._database.write(lambda connection: messages.forget(connection, queue, sent_until_ms))

    def _oldest_sent_at_ms(self, queue: str) -> float:
        sent_at_ms = messages.oldest_sent_at_ms(self._database.reader, queue)
        return math.inf if sent_at_ms is None else sent_at_ms

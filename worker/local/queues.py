"""Queues with long polling, kept in the database."""

from __future__ import annotations

import math

import anyio

from worker.local import messages
from worker.local.database import Database


class Queues:
    """Receives wait here for messages to arrive or to come back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock
        self._arrivals: dict[str, anyio.Event] = {}
        self._closing = False

    async def send(self, queue: str, body: str, delay_seconds: int = 0) -> str:
        """Add a message; gives its MessageId."""
        sent_at_ms = self._clock.now_ms()
        message_id = await self._database.write(
            lambda connection: messages.put(connection, queue, body, sent_at_ms, self._clock.after(delay_seconds))
        )
        self.announce(queue)
        return message_id

    async def receive(
        self, queue: str, most: int, wait_seconds: float, visibility_seconds: int
    ) -> list[messages.Message]:
        """Up to `most` messages; waits up to `wait_seconds` for the first."""
        deadline = anyio.current_time() + wait_seconds
        while True:
            arrival = self._arrivals.setdefault(queue, anyio.Event())
            visible_in_seconds = self._visible_in_seconds(queue)
            if visible_in_seconds <= 0 and (taken := await self._take(queue, most, visibility_seconds)):
                return taken
            left_seconds = deadline - anyio.current_time()
            if left_seconds <= 0 or self._closing:
                return []
            with anyio.move_on_after(min(left_seconds, max(visible_in_seconds, 0.001))):
                await arrival.wait()

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

    async def _take(self, queue: str, most: int, visibility_seconds: int) -> list[messages.Message]:
        return await self._database.write(
            lambda connection: messages.take(
                connection, queue, most, self._clock.now_ms(), self._clock.after(visibility_seconds)
            )
        )

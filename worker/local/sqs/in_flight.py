"""How many messages of a queue may still be received: 120,000 of a standard queue may be in flight.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
"""

from __future__ import annotations

import sqlite3

from worker.local.sqs import messages

MOST_IN_FLIGHT = 120_000


class InFlight:
    """An upper bound for each queue; messages are counted only when it reaches the limit.

    A visibility timeout ends unnoticed, so that the bound may be too high, and never too low. Only the thread that
    writes to the database uses it.
    """

    def __init__(self, limit: int = MOST_IN_FLIGHT) -> None:
        self._limit = limit
        self._bounds: dict[str, int] = {}
        self._full_until_ms: dict[str, int] = {}

    def room(self, connection: sqlite3.Connection, queue: str, most: int, now_ms: int) -> int:
        """How many messages may be handed out, up to `most`."""
        bound = self._bounds.get(queue, self._limit)
        if bound + most > self._limit and now_ms >= self._full_until_ms.get(queue, 0):
            bound = self._count(connection, queue, now_ms)
        return max(0, min(most, self._limit - bound))

    def took(self, queue: str, count: int) -> None:
        """So many more were handed out."""
        self._bounds[queue] += count

    def released(self, queue: str) -> None:
        """One that was in flight is no longer."""
        if queue in self._bounds:
            self._bounds[queue] -= 1

    def returns_at(self, queue: str, visible_at_ms: int) -> None:
        """One that is in flight comes back then."""
        if visible_at_ms < self._full_until_ms.get(queue, 0):
            self._full_until_ms[queue] = visible_at_ms

    def forget(self, queue: str) -> None:
        """Count anew: messages of the queue were removed unseen."""
        self._bounds.pop(queue, None)
        self._full_until_ms.pop(queue, None)

    def _count(self, connection: sqlite3.Connection, queue: str, now_ms: int) -> int:
        count = self._bounds[queue] = messages.held(connection, queue, now_ms)
        is_full = count >= self._limit
        self._full_until_ms[queue] = (is_full and messages.next_return_at_ms(connection, queue, now_ms)) or 0
        return count

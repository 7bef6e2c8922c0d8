"""Spaces the calls of one operation evenly at a rate that gives way to throttling and comes back to its ceiling."""

from __future__ import annotations

import anyio

CUT = 0.7  # of the rate, at a throttle
FLOOR = 0.02  # of the ceiling: below it even a closed quota would be probed too seldom to notice that it opened
SECONDS_TO_RECOVER = 20.0  # from nothing to the ceiling, while calls succeed


class Pace:
    """The next free moment of one operation. Rates are per second; moments are of anyio's monotonic clock.

    Decisions (`take`, `throttled`, `succeeded`) are plain; only `wait` sleeps. Nobody's moment is fixed before it is
    his turn: a queue of callers that was made at a low rate does not outlast it.
    """

    def __init__(self, ceiling_per_second: float) -> None:
        self.ceiling_per_second = ceiling_per_second
        self.per_second = ceiling_per_second
        self._turn = anyio.Lock()
        self._taken_at = float("-inf")
        self._cut_at = float("-inf")
        self._raised_at = float("-inf")

    async def wait(self) -> float:
        """Sleep until the next call is due; returns that moment. Waiting callers are served in the order they came."""
        async with self._turn:
            at = anyio.current_time()
            while at < self.due_at:  # again if a cut meanwhile has put it off
                at = self.due_at
                await anyio.sleep_until(at)
            return self.take(at)

    @property
    def due_at(self) -> float:
        """The first moment at which a call may be made, at the present rate."""
        return self._taken_at + 1 / self.per_second

    def take(self, now: float) -> float:
        """Reserve the next moment. One that nobody took is gone: no burst makes up for it."""
        self._taken_at = max(now, self.due_at)
        return self._taken_at

    def limit(self, ceiling_per_second: float) -> None:
        """Another ceiling. A rate that gave way stays where it is, and comes back to the new one."""
        was_cut = self.per_second < self.ceiling_per_second
        self.ceiling_per_second = ceiling_per_second
        self.per_second = min(self.per_second, ceiling_per_second) if was_cut else ceiling_per_second

    def throttled(self, sent_at: float, now: float) -> None:
        """Cut the rate, once for all calls that were sent before the last cut could be felt."""
        if sent_at <= self._cut_at:
            return
        self._cut_at = self._raised_at = now
        self.per_second = max(self.per_second * CUT, self.ceiling_per_second * FLOOR)

    def succeeded(self, now: float) -> None:
        """Raise the rate by the time that went by, so that it is back at its ceiling after a known time."""
        if self.per_second == self.ceiling_per_second:
            return
        elapsed = min(now - self._raised_at, 1.0)
        self._raised_at = now
        step = self.ceiling_per_second * elapsed / SECONDS_TO_RECOVER
        self.per_second = min(self.per_second + step, self.ceiling_per_second)

"""Spaces the calls of one operation evenly at a rate that gives way to throttling and comes back to its ceiling."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil

import anyio

FIRST_CUT = 0.95  # of the rate, where less than that was granted: calls that left evenly may have come unevenly
CUT = 0.6  # likewise, at another throttle soon after it
SOON_SECONDS, SOON_CALLS = 10.0, 3  # whichever is longer
STRAYS = 1 / 250  # of the calls of the last `SOON_SECONDS`: so few are refused where nobody else is, too
GRANTED_SECONDS, GRANTED_CALLS = 2.0, 20  # whichever is longer: over which it is seen what rate was granted
NEARLY_ALL, MANY = 0.7, 100  # of the ceiling; of calls: a rate that was granted tells what there is if it is either
LATENESS = 0.9  # of a call's spacing, that is made up for: after more of it two calls would come at once
FLOOR = 0.02  # of the ceiling: below it even a closed quota would be probed too seldom to notice that it opened
GROWTH = 0.5 / 34**3  # of the ceiling, per cubed second: half of it is won back 34 s after the rate that was refused
SECONDS_TO_RECOVER = 59.5  # at most, from any rate to the ceiling, while calls succeed


class Pace:
    """The next free moment of one operation. Rates are per second; moments are of anyio's monotonic clock.

    Decisions (`take`, `throttled`, `succeeded`) are plain; only `wait` sleeps. Nobody's moment is fixed before it is
    his turn: a queue of callers that was made at a low rate does not outlast it.

    A few refusals of many calls are strays: on their way calls fall together, and giving way would only lose starts. So
    slow a pace that one refusal is more than its share has none.

    A cut goes no lower than the rate that was granted in the last seconds, if that is nearly all of the ceiling, or so
    many calls that one of them is little: then a loop that stood still has bunched a few, or a little less is granted
    than was configured. Else somebody has a part of the quota, and a second refusal soon after one cuts deep.

    After a cut the rate follows a cubic curve, as CUBIC's window does (RFC 9438): soon near the rate that was refused,
    long about it, and ever faster beyond. So a quota that others share is seldom overrun, and one that they leave is
    in full use within `SECONDS_TO_RECOVER`.
    """

    def __init__(self, ceiling_per_second: float) -> None:
        self.ceiling_per_second = ceiling_per_second
        self.per_second = ceiling_per_second
        self._turn = anyio.Lock(fast_acquire=True)  # a pass of a busy loop may last longer than a call's spacing
        self._taken_at = float("-inf")
        self._cut_at = float("-inf")
        self._refused_per_second = ceiling_per_second
        self._lost_per_second = 0.0
        self._seconds_since_cut = 0.0  # while calls went through
        self._succeeded_at = float("-inf")
        self._granted = self._granted_before()
        self._refused: deque[float] = deque()  # as long as it may matter

    async def wait(self) -> float:
        """Sleep until the next call is due; returns that moment. Waiting callers are served in the order they came."""
        async with self._turn:
            at = anyio.current_time()
            while at < self.due_at:  # again if a cut meanwhile has put it off
                at = self.due_at
                await anyio.sleep_until(at)
            return self.take(max(at, anyio.current_time() - LATENESS / self.per_second))

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
        self._granted = self._granted_before(self._granted)

    def throttled(self, sent_at: float, now: float) -> None:
        """Cut the rate, once for all calls that were sent before the last cut could be felt, and for no stray."""
        self._refused.append(now)
        if sent_at <= self._cut_at or self._is_stray(now):
            return
        is_first = now - self._cut_at > max(SOON_SECONDS, SOON_CALLS / self.per_second)
        granted_per_second = self._granted_per_second(now) if self._succeeded_at > self._cut_at else 0.0
        self._cut_at = self._succeeded_at = now
        self._seconds_since_cut = 0.0
        self._refused_per_second = self.per_second
        least_per_second = max(self.per_second * (FIRST_CUT if is_first else CUT), self.ceiling_per_second * FLOOR)
        self.per_second = max(least_per_second, min(granted_per_second, self.per_second))
        self._lost_per_second = self._refused_per_second - self.per_second

    def succeeded(self, now: float) -> None:
        """Raise the rate by the time that went by; a silence longer than the calls' own spacing counts for little."""
        since_seconds = now - self._succeeded_at
        self._succeeded_at = now
        self._granted.append(now)
        if self.per_second == self.ceiling_per_second:
            return
        self._seconds_since_cut += min(since_seconds, 1.0 + 1 / self.per_second)
        growth = self.ceiling_per_second * GROWTH
        seconds_to_refused = (self._lost_per_second / growth) ** (1 / 3)
        per_second = self._refused_per_second + growth * (self._seconds_since_cut - seconds_to_refused) ** 3
        self.per_second = min(max(per_second, self.per_second), self.ceiling_per_second)

    @property
    def _window_seconds(self) -> float:
        return max(GRANTED_SECONDS, GRANTED_CALLS / self.ceiling_per_second)

    def _granted_before(self, moments: Iterable[float] = ()) -> deque[float]:
        """Moments of the calls that went through, as many as matter."""
        seconds = max(self._window_seconds, SOON_SECONDS)
        return deque(moments, maxlen=ceil(seconds * self.ceiling_per_second) + 1)

    def _is_stray(self, now: float) -> bool:
        """Whether so few of the last calls were refused that it tells nothing."""
        since = now - SOON_SECONDS
        while self._refused[0] <= since:
            self._refused.popleft()
        return len(self._refused) <= STRAYS * sum(moment > since for moment in self._granted)

    def _granted_per_second(self, now: float) -> float:
        """The rate at which calls went through in the window that ends now, or since the first one did.

        0 where that tells nothing.
        """
        begin = max(now - self._window_seconds, self._granted[0])
        seconds, calls = now - begin, sum(moment > begin for moment in self._granted)
        is_telling = calls >= min(MANY, seconds * self.ceiling_per_second * NEARLY_ALL)
        return calls / seconds if seconds > 0 and is_telling else 0.0

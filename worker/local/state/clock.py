"""The service's clock: every duration, lifetime and quota of it is counted on this one."""

from __future__ import annotations

import time


class Clock:
    """Milliseconds since the epoch that pass `speed` times as fast as true ones, and never go back.

    What a client times itself, such as a long poll or a visibility timeout, is given in the client's own seconds:
    `after` and `seconds_until` translate.
    """

    def __init__(self, began_at_ms: int, speed: float = 1.0) -> None:
        self._began_at_ms = began_at_ms
        self._began_at_seconds = time.monotonic()
        self.speed = speed

    def now_ms(self) -> int:
        """The present moment."""
        return self._began_at_ms + int(self.passed_seconds() * 1000)

    def passed_seconds(self) -> float:
        """How long the process has run; finer than milliseconds, which may hold many calls."""
        return (time.monotonic() - self._began_at_seconds) * self.speed

    def after(self, client_seconds: float) -> int:
        """The moment at which that many of a client's seconds will have passed."""
        return self.now_ms() + round(client_seconds * 1000 * self.speed)

    def seconds_until(self, moment_ms: float) -> float:
        """How long a client waits for the moment; negative once it is over."""
        return (moment_ms - self.now_ms()) / (1000 * self.speed)

"""Standing still while AWS refuses the account, but for one call in a while that finds out whether it still does."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

LONGEST_NAP_SECONDS = 1.0  # what is waited for may be over meanwhile


class Denial:
    """Why an account is refused, and when to ask again. Nothing is refused until `begin`."""

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._operation = ""
        self._probe_at = -math.inf
        self.reason: str | None = None
        self.times = 0

    def begin(self, reason: str, operation: str) -> bool:
        """The operation was refused: only it is tried from now on; True if nothing was refused before."""
        is_new = self.reason is None
        if is_new:
            self._operation = operation
            self._probe_at = anyio.current_time() + self._probe_seconds
        self.reason = reason
        self.times += 1
        return is_new

    def end(self, operation: str) -> bool:
        """The operation went through; True if it was the one that had been refused."""
        if self.reason is None or operation != self._operation:
            return False
        self.reason, self.times = None, 0
        return True

    async def wait(self, operation: str, *, as_long_as: Callable[[], bool]) -> None:
        """Return once the operation may be called, for one caller in a while as a probe, or once waiting is vain."""
        while self.reason is not None and as_long_as():
            now = anyio.current_time()
            if operation == self._operation and now >= self._probe_at:
                self._probe_at = now + self._probe_seconds
                return
            await anyio.sleep(max(0.01, min(self._probe_at - now, LONGEST_NAP_SECONDS)))

"""A flag that wakes a waiting loop: setting it twice wakes once, setting it early is not forgotten."""

from __future__ import annotations

import anyio


class Signal:
    """Edge-triggered: `wait` returns once for any number of `set` before or while it waits."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake whoever waits, or the next who comes to wait."""
        self._event.set()

    async def wait(self, *, timeout_seconds: float | None = None) -> bool:
        """Wait for `set`, or for the time to pass; True if it was `set`."""
        with anyio.move_on_after(timeout_seconds):
            await self._event.wait()
        was_set = self._event.is_set()
        if was_set:
            self._event = anyio.Event()
        return was_set

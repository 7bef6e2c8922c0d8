"""Numbers that wake a waiting loop, each told once, as far as they can be kept."""

from __future__ import annotations

from collections.abc import Iterable

from worker.flow.signal import Signal


class News:
    """Whoever waits hears which numbers are new; beyond `most` untold ones only that there are too many to be told."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers: list[int] = []
        self._are_too_many = False
        self._signal = Signal()

    def add(self, numbers: Iterable[int]) -> None:
        """Tell these, and wake whoever waits, or the next who comes to wait."""
        self._numbers += numbers
        if len(self._numbers) > self._most:
            self._numbers, self._are_too_many = [], True
        self._signal.set()

    async def wait(self, *, timeout_seconds: float) -> None:
        """Wait for news, or for the time to pass."""
        await self._signal.wait(timeout_seconds=timeout_seconds)

    def take(self) -> list[int] | None:
        """What is new since the last time; None where that is not known any more."""
        numbers = None if self._are_too_many else self._numbers
        self._numbers, self._are_too_many = [], False
        return numbers

"""Which work waits for the database, and since when: told at once, then ever more seldom, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import structlog

SHORTEST_SILENCE_SECONDS = 5.0
LONGEST_SILENCE_SECONDS = 60.0

log = structlog.get_logger()


class Patience:
    """Knows the units of work that wait for one database; however many they are, their waiting is told as one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = 0
        self._since = 0.0
        self._silent_until = 0.0
        self._is_told = False

    def unit(self) -> Unit:
        """One unit of work, not waiting yet."""
        return Unit(self)

    def begin(self) -> None:
        """One more unit waits."""
        if not self._waiting:
            self._since, self._is_told = self._clock(), False
        self._waiting += 1

    def tell(self, error: Exception) -> None:
        """Say what is waited for, unless that was said a short while ago: the longer the wait, the longer a while."""
        now = self._clock()
        if now < self._silent_until:
            return
        waited_seconds = now - self._since
        self._silent_until = now + min(max(waited_seconds, SHORTEST_SILENCE_SECONDS), LONGEST_SILENCE_SECONDS)
        self._is_told = True
        log.warning(
            "waiting for the database: work goes on by itself when it serves again",
            reason=str(error) or type(error).__name__,
            since=datetime.fromtimestamp(time.time() - waited_seconds, UTC).isoformat(timespec="seconds"),
            units_of_work=self._waiting,
        )

    def end(self) -> None:
        """One unit waits no more."""
        self._waiting -= 1
        if self._is_told and not self._waiting:
            log.info("the database serves again", waited_seconds=round(self._clock() - self._since, 1))


class Unit:
    """Work that is repeated until it gets through; a context that is left when it has, or is given up."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._waits = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.went_through()

    def failed(self, error: Exception) -> None:
        """It is to be tried again."""
        if not self._waits:
            self._patience.begin()
            self._waits = True
        self._patience.tell(error)

    def went_through(self) -> None:
        """It waits no more."""
        if self._waits:
            self._patience.end()
            self._waits = False

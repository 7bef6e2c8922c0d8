"""Which work waits for the database, and since when: told at once, then ever more seldom, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import asyncpg
import structlog

from worker.errors import DatabaseError

SHORTEST_SILENCE_SECONDS = 5.0
LONGEST_SILENCE_SECONDS = 60.0

log = structlog.get_logger()


class Patience:
    """Knows the units of work that wait for one database; however many they are, their waiting is told as one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: set[Unit] = set()
        self._since: float | None = None
        self._silent_until: dict[type[Exception], float] = {}
        self._is_told = False

    def unit(self) -> Unit:
        """One unit of work, not waiting yet."""
        return Unit(self)

    def waits(self, unit: Unit, error: Exception) -> None:
        """Take note of a failure, and tell it unless its like was told a while ago: the longer the wait, the longer."""
        now = self._clock()
        self._waiting.add(unit)
        if self._since is None:
            self._since, self._is_told = now, False
        kind = _kind(error)
        if now >= self._silent_until.get(kind, now):
            waited_seconds = now - self._since
            silence_seconds = min(max(waited_seconds, SHORTEST_SILENCE_SECONDS), LONGEST_SILENCE_SECONDS)
            self._silent_until[kind] = now + silence_seconds
            self._is_told = True
            log.warning(
                "waiting for the database: work goes on by itself when it serves again",
                reason=_in_words(error),
                since=datetime.fromtimestamp(time.time() - waited_seconds, UTC).isoformat(timespec="seconds"),
                units_of_work=len(self._waiting),
            )

    def went_through(self, unit: Unit) -> None:
        """The wait is over when nothing else waits: a database may read for one and refuse to write for another."""
        self._waiting.discard(unit)
        if self._since is not None and not self._waiting:
            waited_seconds, self._since = self._clock() - self._since, None
            if self._is_told:
                log.info("the database serves again", waited_seconds=round(waited_seconds, 1))

    def was_given_up(self, unit: Unit) -> None:
        """It waits no more, and nobody knows whether it would have got through."""
        self._waiting.discard(unit)


class Unit:
    """Work that is repeated until it gets through: a context that is left when it has, or by an error when not."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.went_through()
        else:
            self.was_given_up()

    def failed(self, error: Exception) -> None:
        """It is to be tried again."""
        self._patience.waits(self, error)

    def went_through(self) -> None:
        """It is done."""
        self._patience.went_through(self)

    def was_given_up(self) -> None:
        """It is not tried again."""
        self._patience.was_given_up(self)


def _kind(error: Exception) -> type[Exception]:
    """What the server itself says is told of each kind; for a client one lost connection has many names."""
    is_servers_word = isinstance(error, asyncpg.PostgresError | DatabaseError)
    return type(error) if is_servers_word and not isinstance(error, asyncpg.PostgresConnectionError) else Exception


def _in_words(error: Exception) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)

"""One answer for everybody who looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """An answer that is worked out only when somebody asks, once for however many ask.

    It is good for `good_for_seconds`; if working it out takes long, for so much longer that no more than `most_share`
    of the time is spent on it.
    """

    def __init__(
        self, work_out: Callable[[], Awaitable[T]], *, good_for_seconds: float, most_share: float = 1.0
    ) -> None:
        self._work_out = work_out
        self._good_for_seconds = good_for_seconds
        self._most_share = most_share
        self._one_at_a_time = asyncio.Lock()
        self._stale_at = float("-inf")
        self._answer: T
        self._failure: Exception | None = None

    async def get(self) -> T:
        """The answer, or the error that working it out ended with the last time."""
        async with self._one_at_a_time:
            if time.monotonic() >= self._stale_at:
                await self._renew()
        if self._failure is not None:
            raise self._failure
        return self._answer

    async def _renew(self) -> None:
        begun_at = time.monotonic()
        try:
            self._answer, self._failure = await self._work_out(), None
        except Exception as error:  # noqa: BLE001 (whoever asks is told)
            self._failure = error
        now = time.monotonic()
        took_seconds = 0.0 if self._failure else now - begun_at
        self._stale_at = now + max(self._good_for_seconds, took_seconds / self._most_share)

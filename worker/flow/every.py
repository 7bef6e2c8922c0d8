"""Repeats a duty at even intervals, however long each turn takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def every(interval_seconds: float, duty: Callable[[], Awaitable[object]]) -> None:
    """Do the duty now and after each interval; turns that were missed are not made up for."""
    next_at = anyio.current_time()
    while True:
        await duty()
        next_at = max(next_at + interval_seconds, anyio.current_time())
        await anyio.sleep_until(next_at)

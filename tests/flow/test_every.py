"""Repeated duties in virtual time."""

from __future__ import annotations

import anyio
import pytest

from worker.flow.every import every


async def turns(interval_seconds: float, takes_seconds: list[float], for_seconds: float) -> list[float]:
    """The moments, from 0 on, at which a duty begins whose turns take the given times, and no time afterwards."""
    begun_at, moments = anyio.current_time(), []

    async def duty() -> None:
        moments.append(round(anyio.current_time() - begun_at, 3))
        await anyio.sleep(takes_seconds[len(moments) - 1] if len(moments) <= len(takes_seconds) else 0)

    with anyio.move_on_after(for_seconds):
        await every(interval_seconds, duty)
    return moments


async def test_duty_is_done_at_once_and_then_at_even_intervals():
    """The time that a turn takes does not shift the next one."""
    assert await turns(10, [1.0, 4.0, 9.0], 45) == [0, 10, 20, 30, 40]


async def test_missed_turns_are_not_made_up_for():
    """After a turn that took several intervals there is one turn at once, and then the interval again."""
    assert await turns(10, [0.0, 35.0], 70) == [0, 10, 45, 55, 65]


async def test_error_of_the_duty_ends_the_repeating():
    """A duty that fails is not repeated in silence."""

    async def duty() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await every(10, duty)

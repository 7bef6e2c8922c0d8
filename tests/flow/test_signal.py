"""Signals: one wake for any number of sets, none forgotten."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from worker.flow.signal import Signal


async def test_early_set_is_not_forgotten():
    """A set before the wait ends the wait at once, and only once."""
    signal = Signal()
    signal.set()
    signal.set()
    assert await signal.wait(timeout_seconds=1)
    assert not await signal.wait(timeout_seconds=0)


async def test_wait_ends_with_the_time_out():
    """Without a set the wait takes its time and says so."""
    begun_at = anyio.current_time()
    assert not await Signal().wait(timeout_seconds=30)
    assert anyio.current_time() - begun_at == pytest.approx(30, abs=0.1)


async def test_set_wakes_everybody_who_waits():
    """Each of several waiters is woken by one set; those that lose the race for it are not told that they won."""
    signal, won = Signal(), []

    async def waiter() -> None:
        won.append(await signal.wait())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as waiters:
            for _ in range(3):
                waiters.start_soon(waiter)
            await anyio.sleep(1)
            signal.set()
    assert sorted(won) == [False, False, True]


async def test_cancelled_wait_uses_up_no_set():
    """A waiter that is cancelled just before the set leaves it to the next one."""
    signal = Signal()
    async with anyio.create_task_group() as waiters:
        waiters.start_soon(signal.wait)
        await checkpoint()
        waiters.cancel_scope.cancel()
        signal.set()
    assert await signal.wait(timeout_seconds=0)

"""The two-phase stop: taking ends, now or later; what was taken is not disturbed."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from worker.flow.stop import Stop


async def test_request_ends_every_taking_block():
    """Blocks under `taking` are left quietly when the stop is requested; work beside them goes on to its end."""
    stop, left, done = Stop(), [], []

    async def stage(name: str) -> None:
        with stop.taking():
            await anyio.sleep_forever()
        left.append(name)
        await checkpoint()
        done.append(name)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as stages:
            stages.start_soon(stage, "a")
            stages.start_soon(stage, "b")
            await checkpoint()
            stop.request()
    assert sorted(left) == sorted(done) == ["a", "b"]


async def test_taking_after_the_request_ends_at_its_first_wait():
    """A block that begins after the request takes nothing."""
    stop = Stop()
    stop.request()
    stop.request()
    taken = []
    with stop.taking():
        await checkpoint()
        taken.append(1)
    assert not taken
    assert stop.is_requested


async def test_finished_blocks_are_forgotten():
    """Weeks of blocks leave nothing behind, and a later request disturbs nobody who has left his."""
    stop = Stop()
    for _ in range(3):
        with stop.taking():
            await checkpoint()
    assert not stop.scopes
    stop.request()
    await checkpoint()


async def test_error_in_a_block_comes_out():
    """The stop swallows its own cancellation and nothing else."""
    stop = Stop()
    with pytest.raises(LookupError), stop.taking():
        raise LookupError
    assert not stop.scopes


async def test_cancellation_from_outside_is_not_swallowed():
    """A cancel that is not the stop's goes through the block."""
    stop, reached = Stop(), []
    with anyio.move_on_after(0):
        with stop.taking():
            await anyio.sleep_forever()
        reached.append(1)
    assert not reached


async def test_stop_requests_its_parts():
    """A part ends by itself or with the whole, and one that is begun after the request is over at once."""
    stop, left = Stop(), []

    async def work(part: Stop, name: str) -> None:
        with part.taking():
            await anyio.sleep_forever()
        left.append(name)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as works:
            with stop.part() as one, stop.part() as other:
                works.start_soon(work, one, "one")
                works.start_soon(work, other, "other")
                await checkpoint()
                one.request()
                while not left:
                    await checkpoint()
                assert left == ["one"]
                assert not other.is_requested
                stop.request()
                assert other.is_requested
    assert left == ["one", "other"]
    with stop.part() as late:
        assert late.is_requested


def test_part_that_is_over_is_forgotten():
    """Years of parts leave nothing behind."""
    stop = Stop()
    with stop.part() as part:
        pass
    stop.request()
    assert not part.is_requested

"""Many viewers cost as much as one, and a dear answer is seldom worked out."""

from __future__ import annotations

import asyncio

import pytest

from worker.web import shared
from worker.web.shared import Shared


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the answers."""
    clock = Clock()
    monkeypatch.setattr(shared, "time", clock)
    return clock


async def test_many_who_ask_at_once_get_one_answer(clock: Clock):
    """It is worked out once, and again only when it is too old and somebody asks."""
    worked_out = 0

    async def work_out() -> int:
        nonlocal worked_out
        await asyncio.sleep(0)
        worked_out += 1
        return worked_out

    answer = Shared(work_out, good_for_seconds=2)
    assert await asyncio.gather(*(answer.get() for _ in range(50))) == [1] * 50
    clock.now += 1.9
    assert await answer.get() == 1
    clock.now += 1000
    assert worked_out == 1
    assert await asyncio.gather(*(answer.get() for _ in range(50))) == [2] * 50


async def test_an_answer_that_takes_long_is_good_for_so_much_longer(clock: Clock):
    """What takes a second is worked out no more often than every 200, at a share of a two-hundredth."""
    worked_out = 0

    async def work_out() -> int:
        nonlocal worked_out
        clock.now += 1
        worked_out += 1
        return worked_out

    answer = Shared(work_out, good_for_seconds=2, most_share=1 / 200)
    assert await answer.get() == 1
    clock.now += 199
    assert await answer.get() == 1
    clock.now += 2
    assert await answer.get() == 2


async def test_a_failure_is_everybodys_and_soon_tried_again(clock: Clock):
    """Whoever asks while the database is away is told at once; however long the try took, the next one comes soon."""
    fails = True
    tries = 0

    async def work_out() -> str:
        nonlocal tries
        tries += 1
        clock.now += 10
        if fails:
            raise OSError("away")
        return "here"

    answer = Shared(work_out, good_for_seconds=2, most_share=1 / 200)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            await answer.get()
    assert tries == 1
    fails = False
    clock.now += 2
    assert await answer.get() == "here"

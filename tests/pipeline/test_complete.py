"""Overdue jobs: found once their time has come, and none of them missed for long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.store.steps import Steps
from worker.lane import Lane
from worker.model import Backfill
from worker.pipeline import complete
from worker.pipeline.complete import Overdue

LONG_AGO, LATELY = -5000.0, -0.001
NEVER_SECONDS = 1e9


async def run_until(steps: Steps, lane: Lane, backfill: Backfill, names: Sequence[str], due_seconds: float) -> set[int]:
    """Start jobs that are due so many seconds from now; their ids."""
    jobs = await steps.intents(lane.owner, backfill, names)
    await steps.start(jobs, due_seconds=due_seconds)
    return {job.id for job in jobs}


async def found(overdue: Overdue, lane: Lane) -> set[int]:
    """The jobs that a look has made ready, as fetch is told."""
    await overdue.look()
    return set(lane.pages_ready.take() or ())


async def test_first_look_finds_all_and_the_next_ones_what_has_just_come(
    steps: Steps, lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    """What may have become overdue before the lane was taken is looked for once; then only what is due lately."""
    monkeypatch.setattr(complete, "WHOLE_LOOK_SECONDS", NEVER_SECONDS)
    overdue, backfill = Overdue(lane, steps.jobs), await steps.backfill()
    old = await run_until(steps, lane, backfill, ["a.mp4", "b.mp4"], LONG_AGO)
    assert await found(overdue, lane) == old
    missed = await run_until(steps, lane, backfill, ["c.mp4"], LONG_AGO)
    lately = await run_until(steps, lane, backfill, ["d.mp4"], LATELY)
    await run_until(steps, lane, backfill, ["e.mp4"], 600.0)
    assert await found(overdue, lane) == lately
    assert await found(overdue, lane) == set()
    monkeypatch.setattr(complete, "WHOLE_LOOK_SECONDS", 0.0)
    anew = Overdue(lane, steps.jobs)
    assert await found(anew, lane) == missed
    missed = await run_until(steps, lane, backfill, ["f.mp4"], LONG_AGO)
    assert await found(anew, lane) == missed


async def test_more_than_are_found_at_once_are_found_by_the_next_looks(
    steps: Steps, lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    """After an outage there may be many: each look takes as many as it may, until none is left."""
    monkeypatch.setattr(complete, "WHOLE_LOOK_SECONDS", NEVER_SECONDS)
    monkeypatch.setattr(complete, "OVERDUE_AT_ONCE", 2)
    overdue, backfill = Overdue(lane, steps.jobs), await steps.backfill()
    old = await run_until(steps, lane, backfill, [f"{n}.mp4" for n in range(5)], LONG_AGO)
    looks = [await found(overdue, lane) for _ in range(4)]
    assert [len(look) for look in looks] == [2, 2, 1, 0]
    assert set.union(*looks) == old

"""Whether work can go on, decided in plain code from the tallies and the lanes of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio
from msgspec import Struct

from worker.ownership import LaneState
from worker.process import WorkerProcess
from worker.store.registry import Progress, Registry

WATCH_SECONDS = 0.5


class Watch(Struct, frozen=True):
    """What a look at a backfill found; `ending` is the sentence that ends it early."""

    progress: Progress
    ending: str | None = None

    @property
    def is_over(self) -> bool:
        """True when there is nothing (more) to wait for."""
        return self.progress.left == 0 or self.ending is not None


def look_at(name: str, progress: Progress, states: Mapping[str, LaneState]) -> Watch:
    """Decide whether a backfill is over; it goes on as long as any lane here can bring a video of it to an end."""
    return Watch(progress, _obstacle(name, progress, states) if progress.left else None)


def _obstacle(name: str, progress: Progress, states: Mapping[str, LaneState]) -> str | None:
    """What no lane of this process gets past, None if one does."""
    with_work = {*progress.lanes_pending, *progress.lanes_active}
    here = sorted(with_work & set(states))
    if not here:
        lanes = ", ".join(sorted(with_work))
        return f"its videos belong to lanes that are not worked on here ({lanes}); add those to the config file"
    able = [lane for lane in here if not states[lane].denied]
    if not able:
        return _denials({lane: states[lane].denied or "" for lane in here})
    if set(able) & set(progress.lanes_active):
        return None
    if progress.pause_reason is not None:
        return f"it is paused ({progress.pause_reason}); `modworker resume {name}` lets it go on"
    if all(states[lane].is_out_of_budget(name) for lane in able):
        return _budget_reached(progress)
    return None


def _denials(reasons: Mapping[str, str]) -> str:
    (lane, reason), *others = reasons.items()
    more = f", and {len(others)} more likewise" if others else ""
    return f"no lane is able to work: lane {lane} is denied{more} ({reason}); mend that, then give the command again"


def _budget_reached(progress: Progress) -> str:
    budget_usd = progress.budget_usd or 0.0
    is_overrun = progress.spent_usd > budget_usd
    why = "videos cost more than expected" if is_overrun else "the next video is expected to cost more than the rest"
    return (
        f"its budget of ${budget_usd:,.2f} is reached (${progress.spent_usd:,.2f} spent, and {why}); "
        "the same command with a higher --budget-usd goes on"
    )


async def until_final(worker: WorkerProcess, registry: Registry, name: str) -> AsyncIterator[Watch]:
    """Look at a backfill again and again, until it is final, cannot go on, or the worker is stopped."""
    while not worker.stop.is_requested:
        watch = look_at(name, await registry.progress(name), worker.states)
        yield watch
        if watch.is_over:
            return
        with worker.stop.taking():
            await anyio.sleep(WATCH_SECONDS)


async def nothing_left(worker: WorkerProcess, registry: Registry) -> str | None:
    """Wait until nothing is left that its lanes could bring to an end, and nothing new waits in the queues of arrivals.

    Gives the sentence that ends it before that.
    """
    while not worker.stop.is_requested:
        may_have_arrivals = worker.may_have_arrivals  # looked at first: what they bring is left then
        left = await registry.work_left(list(worker.states))
        if not left and not may_have_arrivals:
            break
        if left and not may_have_arrivals and (ending := await _standstill(worker, registry, left)):
            return ending
        with worker.stop.taking():
            await anyio.sleep(WATCH_SECONDS)
    return None


async def _standstill(worker: WorkerProcess, registry: Registry, left: int) -> str | None:
    """Why nothing of what is left can go on: its lanes are denied, or its backfills lack the money."""
    denials = {name: state.denied for name, state in worker.states.items() if state.denied}
    if denials and not await registry.work_left([name for name in worker.states if name not in denials]):
        return _denials(denials)
    names = {name for state in worker.states.values() if state.lane for name in state.lane.out_of_budget}
    looks = {name: look_at(name, await registry.progress(name), worker.states) for name in sorted(names)}
    stuck = {name: look for name, look in looks.items() if look.ending and look.progress.pause_reason is None}
    if stuck and sum(look.progress.left for look in stuck.values()) >= left:
        return "; ".join(f"backfill {name}: {look.ending}" for name, look in stuck.items())
    return None

"""What claiming and settling a video costs with few videos registered, with many, and under an old snapshot.

`python -m benchmarks.claim [--quick]` prints one JSON object. Videos go the whole way of their rows (benchmarks/way.py)
in databases that take turns, in another order each round; ratios are taken within a round. The ones and the others are
filled by SQL before, with the indexes of the migrations, vacuumed, and written out by a checkpoint; autovacuum is off.
Before the rounds under the snapshot there is another checkpoint: ten minutes' worth of rows, written in four, would
still be on their way to the disk, and every commit would wait for it.

A snapshot that another connection holds keeps every version of a row that has come after it. What counts of its age is
therefore how many videos have passed since, and these are let pass as fast as they can: 120,000 are what a lane of 200
starts a second claims and settles in ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct, json

from benchmarks.rig import Rig, machine, median, open_rig
from benchmarks.stored import register, store
from benchmarks.way import AT_ONCE, CLAIMING, LABELS_A_JOB, SETTLING, Cost, Way, open_way, opened_backfill
from worker.local.analysts.taxonomy import TAXONOMY

FEW, MANY, FEW_AGED, MANY_AGED = "few", "many", "few_aged", "many_aged"
FEW_BESIDE_AGED = "few_beside_aged"  # another database with few, which takes turns with the aged ones
STAGES = {"claiming": CLAIMING, "settling": SETTLING}
RATIOS = ((MANY, FEW), (MANY_AGED, FEW), (MANY_AGED, FEW_AGED))
TARGET = 1.2


class Plan(Struct, frozen=True):
    """How much to measure. Videos come in claims of 180."""

    few: tuple[int, int]  # registered and settled videos
    many: tuple[int, int]
    warming: int  # videos that go before the first round
    a_round: int
    rounds: int
    aged: int  # videos that pass after the snapshot of the many


FULL = Plan(few=(10**4, 10**3), many=(10**7, 10**6), warming=1260, a_round=1080, rounds=7, aged=120_060)
QUICK = Plan(few=(1000, 100), many=(3000, 500), warming=180, a_round=180, rounds=1, aged=360)

Costs = dict[str, dict[str, Cost]]
"""What each step of a round took, by database."""


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Claiming and settling, with few and with many videos registered.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the ratios mean nothing")
    plan = QUICK if parser.parse_args().quick else FULL
    async with open_rig(lane={}, local={}) as rig:
        about = await machine(rig.server_url)
        await prepare(rig, plan)
        result = await measure(rig, plan)
    print(json.format(json.encode(about | result), indent=2).decode())


async def prepare(rig: Rig, plan: Plan) -> None:
    """Fill both databases, and copy the one with few."""
    await rig.execute("alter system set autovacuum = off", "select pg_reload_conf()")
    await rig.migrated((label.name, label.parent, label.level) for label in TAXONOMY)
    for name, videos in ((FEW, plan.few), (MANY, plan.many)):
        await fill(await rig.database(name), *videos)
    for name in (FEW_BESIDE_AGED, FEW_AGED):
        await rig.database(name, template=FEW)


async def fill(url: str, registered: int, settled: int) -> None:
    """Bring a database to that many registered videos, of which so many are settled."""
    async with open_way(url) as way:
        backfill, lane_id = await opened_backfill(way.database), way.owner.lane_id
    connection = await asyncpg.connect(url)
    await store(connection, jobs=settled, labels=LABELS_A_JOB)
    for sequence in ("job_id_seq", "video_id_seq", "video_claim_order"):
        await connection.execute(f"select setval('{sequence}', {settled})")
    await register(connection, backfill.id, lane_id, registered - settled)
    await connection.close()


async def measure(rig: Rig, plan: Plan) -> dict[str, Any]:
    """Without a snapshot, then with one."""
    free = {name: rig.database_url(name) for name in (FEW, MANY)}
    await tidy(free[MANY])
    async with opened(free) as ways:
        await go(ways.values(), plan.warming)
        without = await rounds_of(ways, plan)
        duties = await duties_of(ways, plan)
    await tidy(free[MANY])
    aged = {FEW: rig.database_url(FEW_BESIDE_AGED), FEW_AGED: rig.database_url(FEW_AGED), MANY_AGED: free[MANY]}
    async with opened(aged) as ways, snapshot(aged[FEW_AGED]), snapshot(aged[MANY_AGED]):
        began_at = time.monotonic()
        await go([ways[MANY_AGED]], plan.aged)
        seconds = time.monotonic() - began_at
        await go([ways[FEW], ways[FEW_AGED]], plan.warming)
        await rig.execute("checkpoint")
        within = await rounds_of(ways, plan)
        duties |= await duties_of({name: ways[name] for name in (FEW_AGED, MANY_AGED)}, plan)
    return report(plan, without, within, duties, seconds)


async def tidy(url: str) -> None:
    """Leave nothing to be done for what was written before."""
    connection = await asyncpg.connect(url)
    await connection.execute("vacuum analyze")
    await connection.execute("checkpoint")
    await connection.close()


@asynccontextmanager
async def opened(urls: Mapping[str, str]) -> AsyncIterator[dict[str, Way]]:
    """The lanes of some databases."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(open_way(url)) for name, url in urls.items()}


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[None]:
    """Another connection that sees the database as it is now, for as long as it lasts."""
    connection = await asyncpg.connect(url)
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("select count(*) from lane")
        yield
    await connection.close()


async def go(ways: Iterable[Way], videos: int) -> None:
    """Let videos pass that are not measured."""
    for way in ways:
        await way.go(videos)


async def rounds_of(ways: Mapping[str, Way], plan: Plan) -> list[Costs]:
    """Every database in turn; each round begins with another one."""
    names = list(ways)
    firsts = [number % len(names) for number in range(plan.rounds)]
    return [{name: await ways[name].go(plan.a_round) for name in names[first:] + names[:first]} for first in firsts]


async def duties_of(ways: Mapping[str, Way], plan: Plan) -> dict[str, dict[str, float]]:
    """Milliseconds of the server's time that a duty takes once, by database."""
    rounds = [{name: await way.do_duties() for name, way in ways.items()} for _ in range(plan.rounds)]
    return {
        name: {duty: median(costs[name][duty].server / 1e6 for costs in rounds) for duty in rounds[0][name]}
        for name in ways
    }


def report(
    plan: Plan, without: Sequence[Costs], within: Sequence[Costs], duties: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """What was measured, times a video, and the ratios of the rounds; medians."""
    rounds = {FEW: without, MANY: without, FEW_AGED: within, MANY_AGED: within}
    return {
        "benchmark": "claim",
        "videos": {FEW: plan.few, MANY: plan.many},
        "videos_a_round": plan.a_round,
        "rounds": plan.rounds,
        "videos_at_once": AT_ONCE,
        "snapshot": {
            "videos_since": {FEW_AGED: plan.warming, MANY_AGED: plan.aged},
            "seconds_for_them": round(seconds),
        },
        "us_a_video": {name: us_a_video(plan, [costs[name] for costs in rounds[name]]) for name in rounds},
        "ratios": {f"{one}/{other}": ratios(rounds[one], one, other) for one, other in RATIOS},
        "target": TARGET,
        "duties_server_ms": duties,
    }


def us_a_video(plan: Plan, rounds: Sequence[Mapping[str, Cost]]) -> dict[str, dict[str, float]]:
    """Microseconds a video: wall time of each stage, and the server's processor time of each stage and step."""
    steps = {step: (step,) for step in AT_ONCE}
    us = 1000 * plan.a_round
    return {
        "wall": {stage: median(total(costs, of, "wall") / us for costs in rounds) for stage, of in STAGES.items()},
        "server": {
            name: median(total(costs, of, "server") / us for costs in rounds) for name, of in (STAGES | steps).items()
        },
    }


def ratios(rounds: Sequence[Costs], one: str, other: str) -> dict[str, dict[str, float]]:
    """What each stage costs in one database, over what it costs in the other."""
    return {
        stage: {
            kind: median(total(costs[one], steps, kind) / total(costs[other], steps, kind) for costs in rounds)
            for kind in ("wall", "server")
        }
        for stage, steps in STAGES.items()
    }


def total(costs: Mapping[str, Cost], steps: Iterable[str], kind: str) -> int:
    """Nanoseconds that these steps took together."""
    return sum(getattr(costs[step], kind) for step in steps)


if __name__ == "__main__":
    asyncio.run(main())

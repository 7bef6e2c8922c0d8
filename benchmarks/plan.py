"""How near `modworker plan` comes to the truth, from the first 200 settled videos, for three settings of quotas.

`python -m benchmarks.plan [--quick] [--videos 700]` prints one JSON object. In each setting another quota binds. A
worker moderates a made-up archive on a local service; as soon as 200 videos are settled, `modworker plan --name` is
asked for the rest, while the worker goes on. Its config file has no word on the service: how long jobs take, how long
the videos are and how many pages their results have it can only learn from the database.

The true time is that from the plan's moment to the last settled video, by the database's clock. The true cost is that
of the minutes in the service's ledger, less what was settled before.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Struct, json, structs

from benchmarks.rig import ledger, machine, open_rig
from worker.planning.simulation import Quota

ARCHIVE = "synthetic-archive"
USD_PER_MINUTE = 0.10
TARGETS = {"seconds": 0.15, "cost_usd": 0.15}  # of the truth, either way
DONE = "select count(*) >= $1 from video where state = 'done'"
LAST = "select max(settled_at) from video"
SPENT = "select coalesce(sum(cost_usd), 0)::float8 from job where settled_at <= $1"


class Setting(Struct, frozen=True):
    """Quotas, what jobs take, and how many labels fit on a page."""

    quota: Quota
    job_seconds: float
    job_seconds_per_video_second: float
    largest_page: int = 1_000

    def local(self, videos: int) -> dict[str, Any]:
        """The service's section of the config file, which the worker does not see."""
        times = {key: getattr(self, key) for key in ("job_seconds", "job_seconds_per_video_second", "largest_page")}
        return {"videos": videos, "quota_burst": 5, **times}


SETTINGS = [
    Setting(Quota(10.0, 40.0, 20), 2.0, 0.05),
    Setting(Quota(4.0, 40.0, 200), 3.0, 0.04),
    Setting(Quota(20.0, 12.0, 60), 2.0, 0.02, largest_page=100),
]
QUICK = Setting(Quota(3.0, 20.0, 20), 1.0, 0.002)


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Predicted and true time and cost of the rest of a backfill.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one setting, after 30 of 120 videos")
    parser.add_argument("--videos", type=int, default=700)
    given = parser.parse_args()
    settings, videos, settled = ([QUICK], 120, 30) if given.quick else (SETTINGS, given.videos, 200)
    results = [await measured(setting, videos, settled) for setting in settings]
    about = results[0].pop("about") | {"benchmark": "plan", "videos": videos, "settled": settled}
    print(
        json.format(json.encode(about | {"settings": _without_machine(results), "targets": TARGETS}), indent=2).decode()
    )


def _without_machine(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in result.items() if name != "about"} for result in results]


async def measured(setting: Setting, videos: int, settled: int) -> dict[str, Any]:
    """What was predicted in a setting, and what came true."""
    quota = structs.asdict(setting.quota)
    async with open_rig(lane=quota, local=setting.local(videos)) as rig:
        await rig.migrated()
        service_url = rig.serve("-m", "worker", "serve", "--config")
        database_url = await rig.database("worker")
        config = rig.config(database_url, service_url)
        rig.output(rig.worker("enqueue", f"s3://{ARCHIVE}/", "--name", "rest", config=config))
        worker = rig.worker("run", "--until-empty", config=config)
        connection = await asyncpg.connect(database_url)
        await rig.until_true(worker, connection, DONE, settled)
        plan = json.decode(
            await asyncio.to_thread(rig.output, rig.worker("plan", "--name", "rest", "--json", config=config))
        )
        await asyncio.to_thread(rig.output, worker)
        true = await came_true(connection, plan, ledger(service_url)["minutes"])
        await connection.close()
        return {"about": await machine(rig.server_url), "quota": quota} | compared(plan, true)


async def came_true(connection: asyncpg.Connection, plan: dict[str, Any], minutes: float) -> dict[str, float]:
    """Seconds from the plan to the last settled video, and what was paid for since."""
    at = datetime.fromisoformat(plan["at"])
    last_at = await connection.fetchval(LAST)
    spent_usd = await connection.fetchval(SPENT, at)
    return {"seconds": (last_at - at).total_seconds(), "cost_usd": minutes * USD_PER_MINUTE - spent_usd}


def compared(plan: dict[str, Any], true: dict[str, float]) -> dict[str, Any]:
    """Both figures beside the truth, and how far they are off."""
    return {
        "left": plan["videos"],
        "learned_from_jobs": plan["learned_from_jobs"],
        "binds": plan["binds"],
        **{name: {"predicted": round(plan[name], 2), "true": round(true[name], 2)} for name in TARGETS},
        "off": {name: round(plan[name] / true[name] - 1, 4) for name in TARGETS},
    }


if __name__ == "__main__":
    asyncio.run(main())

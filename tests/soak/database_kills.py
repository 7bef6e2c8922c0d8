"""The database server is killed every 10 seconds for 10 minutes in the middle of a backfill."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import asyncpg

from tests.soak.ground import ARCHIVE, ground, jobs_faster, lanes, printed, told
from tests.system.checker import findings
from tests.system.site import Site, finished
from tests.system.truth import rows_in

EVERY_SECONDS = 10.0
LOOK_SECONDS = 0.2
UNDISTURBED_SECONDS = 60.0
WITHIN_SECONDS = 30.0
ENOUGH_OF_THE_RATE = 0.9
STARTS_PER_SECOND = 25.0
VIDEOS_A_SECOND = 30


async def run(seconds: float) -> int:
    """Measure the undisturbed rate, kill the server again and again, and measure again."""
    began_at = time.monotonic()
    videos = round((seconds + 4 * UNDISTURBED_SECONDS) * VIDEOS_A_SECOND)
    async with ground() as here:
        site = await here.site("database")
        lanes(site, {"main": "us-east-1"}, start_per_second=STARTS_PER_SECOND)
        site.configure(
            worker={"lease_seconds": 15},
            moderation={"min_confidence": 90.0, "first_due_seconds": 10},
            local={"videos": videos, **jobs_faster(20)},
        )
        site.service()
        assert finished(site.start("enqueue", ARCHIVE), seconds=300).returncode == 0
        worker = site.start("run")
        time.sleep(UNDISTURBED_SECONDS / 4)
        before = await _rate(site, UNDISTURBED_SECONDS)
        kills = await _kill_the_server(here.folder, site, seconds)
        time.sleep(WITHIN_SECONDS)
        after = await _rate(site, UNDISTURBED_SECONDS)
        told(f"{before:.1f} videos a second before, {after:.1f} after")
        worker.terminate()
        wrong = [] if finished(worker).returncode == 0 else ["the worker did not end well"]
        wrong += [f"only {after / before:.0%} of the rate"] if after < ENOUGH_OF_THE_RATE * before else []
        lanes(site, {"main": "us-east-1"}, start_per_second=500)
        finished(site.start("run", "--until-empty"), seconds=3600)
        wrong += await findings(site, registered=videos)
        return printed(
            "database",
            began_at,
            kills=kills,
            videos=videos,
            rate_before=round(before, 2),
            rate_after=round(after, 2),
            ratio=round(after / before, 3),
            wrong=wrong,
        )


async def _rate(site: Site, seconds: float) -> float:
    """Videos settled a second."""
    settled = "select coalesce(sum(done + failed), 0)::bigint as settled from tally"
    ((before,),) = await rows_in(site.database_url, settled)
    time.sleep(seconds)
    ((after,),) = await rows_in(site.database_url, settled)
    return (after - before) / seconds


def _killed(folder: Path) -> bool:
    """Kill the server's first process; False while it is about to be started again."""
    try:
        pid = int(next(folder.glob("postgresql-*/**/postmaster.pid")).read_text(encoding="ascii").split()[0])
        os.kill(pid, signal.SIGKILL)
    except (StopIteration, ProcessLookupError):
        return False
    return True


async def _kill_the_server(folder: Path, site: Site, seconds: float) -> int:
    """Kill the server's first process as often as it is there; the keeper starts it again."""
    kills, ends_at = 0, time.monotonic() + seconds
    while time.monotonic() < ends_at:
        was_killed = _killed(folder)
        kills += was_killed
        time.sleep(EVERY_SECONDS if was_killed else LOOK_SECONDS)
    while True:
        try:
            await rows_in(site.database_url, "select 1")
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.2)
        else:
            return kills

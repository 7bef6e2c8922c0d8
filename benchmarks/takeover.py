"""How long after a lane came free the next owner has taken its jobs over and goes on with the work."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import urllib.request
from contextlib import closing
from datetime import datetime
from pathlib import Path
from subprocess import Popen

import asyncpg
from msgspec import Struct

from benchmarks.handovers import latest_handovers
from benchmarks.rig import LANE, Rig

STANDING_BY = "standing by: the lane is owned by another process"
TAKEN = "lane taken"
SERVED = "pages, health and metrics are served"
LOOK_SECONDS = 0.05
LATEST_START = "select started_at_ms from job order by number desc limit 1"
FIRST_START = "select min(started_at_ms) from job where started_at_ms > ?"
SLOTS_USED = re.compile(rf'^modworker_slots{{kind="used",lane="{LANE}"}} (\S+)$', re.MULTILINE)


class Takeover(Struct, frozen=True):
    """Seconds from the moment when the lane was free to what the new owner has done; and the slots that it counts."""

    lease: float  # committed in the database
    adopted: float  # the slots of all running jobs, in its memory
    first_start: float  # made by it, as the service has recorded
    slots_used: int


async def taken_over(rig: Rig, connection: asyncpg.Connection, service_data: Path, successor: Popen[str]) -> Takeover:
    """Wait until a process that stood by has taken the lane and started a job, and tell how long that took."""
    (taken,) = await rig.until_logged(successor, TAKEN)
    (handover,) = await latest_handovers(connection)
    free_at = handover.free_at
    started_at = await _first_start(service_data, free_at)
    return Takeover(
        lease=round(handover.taken_at - free_at, 3),
        adopted=round(datetime.fromisoformat(taken["timestamp"]).timestamp() - free_at, 3),
        first_start=round(started_at - free_at, 3),
        slots_used=_slots_used(rig, successor),
    )


async def _first_start(service_data: Path, after: float) -> float:
    with closing(sqlite3.connect(service_data / "local-service.sqlite")) as jobs:
        while jobs.execute(LATEST_START).fetchone()[0] <= after * 1000:
            await asyncio.sleep(LOOK_SECONDS)
        return float(jobs.execute(FIRST_START, (after * 1000,)).fetchone()[0]) / 1000


def _slots_used(rig: Rig, worker: Popen[str]) -> int:
    """As the worker's own metrics have it."""
    (served,) = rig.logged(worker, SERVED)
    with urllib.request.urlopen(f"{served['url']}/metrics", timeout=30) as response:  # noqa: S310 (on loopback)
        found = SLOTS_USED.search(response.read().decode())
    return round(float(found[1])) if found else 0

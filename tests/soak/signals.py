"""SIGTERM at random moments: every process ends within its grace, leaving no lease; SIGKILL: another goes on."""

from __future__ import annotations

import random
import time

from tests.soak.ground import ARCHIVE, ground, jobs_faster, printed, told, until
from tests.system.checker import findings
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished, kill
from tests.system.truth import rows_in

GRACE_SECONDS = 10
LEASE_SECONDS = 3
TAKEN_WITHIN_SECONDS = LEASE_SECONDS + 5
LANE = "select holder_name, epoch, expires_at > clock_timestamp() as is_held from lane"


async def run(terms: int, kills: int, seed: int, videos: int) -> int:
    """End processes so often, one way and the other, then let the work be finished."""
    began_at = time.monotonic()
    rng = random.Random(seed)
    wrong: list[str] = []
    async with ground() as here:
        site = await here.site("signals")
        site.configure(
            worker={"lease_seconds": LEASE_SECONDS, "shutdown_grace_seconds": GRACE_SECONDS},
            moderation={"min_confidence": 95.0},
            local={"videos": videos, **jobs_faster(60)},
            lanes__main={"start_per_second": 60},
        )
        site.service()
        finished(site.start("enqueue", ARCHIVE))
        ended = [await _terminated(site, rng, wrong) for _ in range(terms)]
        told(f"{terms} processes terminated")
        taken = [await _taken_over(site, rng, wrong) for _ in range(kills)]
        told(f"{kills} processes killed")
        wrong += [f"{site.ledger()['paid_jobs']} of {videos} were bought: the work ended too soon"] * (
            site.ledger()["paid_jobs"] == videos
        )
        site.configure(lanes__main={"start_per_second": 500})
        finished(site.start("run", "--until-empty"), seconds=3600)
        wrong += await findings(site, registered=videos)
        return printed(
            "signals",
            began_at,
            seed=seed,
            terms=terms,
            slowest_end_seconds=round(max(ended, default=0), 2),
            kills=kills,
            slowest_takeover_seconds=round(max(taken, default=0), 2),
            wrong=wrong,
        )


async def _terminated(site: Site, rng: random.Random, wrong: list[str]) -> float:
    """Seconds that a process took to end after SIGTERM at a random moment."""
    worker = site.start("run")
    time.sleep(rng.uniform(0.0, 2.0))
    worker.terminate()
    began_at = time.monotonic()
    code = finished(worker, seconds=60).returncode
    seconds = time.monotonic() - began_at
    lanes = await rows_in(site.database_url, LANE)
    if code not in (0, -15):  # -15: it came before the program did
        wrong.append(f"a process ended with {code} after SIGTERM")
    if seconds > GRACE_SECONDS:
        wrong.append(f"a process took {seconds:.1f} s to end")
    if any(lane["is_held"] for lane in lanes):
        wrong.append("a process left its lease")
    return seconds


async def _taken_over(site: Site, rng: random.Random, wrong: list[str]) -> float:
    """Seconds from SIGKILL until another process has bought a job."""
    first, second = site.start("run"), site.start("run")
    holder = await _held_by_one_of(site, first, second)
    time.sleep(rng.uniform(0.2, 1.5))
    paid = site.ledger()["paid_jobs"]
    kill(holder)
    began_at = time.monotonic()
    paid = site.ledger()["paid_jobs"]
    until(lambda: site.ledger()["paid_jobs"] > paid, within_seconds=60)
    seconds = time.monotonic() - began_at
    if seconds > TAKEN_WITHIN_SECONDS:
        wrong.append(f"taken over after {seconds:.1f} s")
    other = second if holder is first else first
    other.terminate()
    finished(other)
    return seconds


async def _held_by_one_of(site: Site, *workers: WorkerProcess) -> WorkerProcess:
    while True:
        for row in await rows_in(site.database_url, LANE):
            for worker in workers:
                if row["is_held"] and row["holder_name"].endswith(f"-{worker.pid}"):
                    return worker
        time.sleep(0.05)

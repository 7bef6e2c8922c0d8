"""SIGKILLs at random moments of four processes over four lanes, with the service in trouble as well."""

from __future__ import annotations

import random
import time

from tests.soak.ground import ARCHIVE, count, ground, jobs_faster, lanes, printed, told
from tests.system.checker import findings
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished, kill

PROCESSES = 4
LANES = {"a": "us-east-1", "b": "us-east-1", "c": "us-west-2", "d": "eu-west-1"}
LONGEST_PAUSE_SECONDS = 1.6
MIN_CONFIDENCE = 90.0

FAULTS = """
[[calls]]
fault = "reset"
operations = ["StartContentModeration"]
executed = true
share = 0.05

[[calls]]
fault = "error"
code = "ProvisionedThroughputExceededException"
share = 0.02

[[calls]]
fault = "truncated"
operations = ["GetContentModeration"]
share = 0.02

[[notices]]
fault = "lost"
share = 0.1

[[notices]]
fault = "doubled"
share = 0.1

[[notices]]
fault = "early"
share = 0.05
seconds = 0.2

[[tokens]]
share = 0.1

[[jobs]]
share = 0.02
"""


async def run(kills: int, seed: int, videos: int) -> int:
    """Kill so often, then let the work be finished, and look at the books of both sides."""
    began_at = time.monotonic()
    async with ground() as here:
        site = await here.site("kills")
        faults = site.folder / "faults.toml"
        faults.write_text(f"seed = {seed}\n{FAULTS}")
        lanes(site, LANES)
        site.configure(
            worker={"lease_seconds": 1},
            moderation={"min_confidence": MIN_CONFIDENCE, "first_due_seconds": 2},
            local={"videos": videos, "faults": str(faults), **jobs_faster(60)},
        )
        site.service()
        registered = finished(site.start("enqueue", ARCHIVE), seconds=300)
        assert registered.returncode == 0, registered.stderr
        left = await _kill(site, kills, random.Random(seed), videos)
        told(f"{kills} kills, {left} videos left")
        ended = finished(site.start("run", "--until-empty"), seconds=3600)
        site.put_faults({})
        wrong = await findings(site, registered=videos)
        if ended.returncode:
            wrong.append(f"the last process ended with {ended.returncode}: {ended.stderr[-500:]}")
        ledger = site.ledger()
        return printed(
            "kills",
            began_at,
            seed=seed,
            kills=kills,
            videos=videos,
            left_after_kills=left,
            paid_jobs=ledger["paid_jobs"],
            replays=ledger["replays"],
            wrong=wrong,
        )


async def _kill(site: Site, kills: int, rng: random.Random, videos: int) -> int:
    """End a process at a random moment and start another, again and again; videos that are left after that."""
    workers: list[WorkerProcess] = [site.start("run") for _ in range(PROCESSES)]
    left = videos
    for number in range(kills):
        time.sleep(rng.uniform(0, LONGEST_PAUSE_SECONDS))
        victim = rng.randrange(PROCESSES)
        kill(workers[victim])
        workers[victim] = site.start("run")
        if number % 50 == 0:
            left = await count(site, "state in ('pending', 'active')")
            told(f"{number} kills, {left} videos left")
            if not left:
                msg = f"nothing was left to do after {number} kills; give more --videos"
                raise RuntimeError(msg)
    for worker in workers:
        kill(worker)
    return await count(site, "state in ('pending', 'active')")

"""Outages of 6 and of 7.5 days, of the worker and of AWS: on the service's clock a week passes in five minutes.

The worker's `[aws]` lifetimes are scaled with it.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from tests.soak.ground import ARCHIVE, Ground, ground, lanes, printed, told, until
from tests.system.checker import findings
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished, kill
from tests.system.truth import paid_by, states_in

SPEED = 2_016.0
DAY_SECONDS = 86_400 / SPEED
JOB_SECONDS = 2.0
VIDEOS = 200


Outage = Callable[[Site, float], Awaitable[tuple[Counter[str], list[str]]]]


async def run(seed: int) -> int:
    """Each kind of outage, short and long."""
    codes: list[int] = []

    async def one(here: Ground, kind: str, days: float, outage: Outage) -> None:
        began_at = time.monotonic()
        site = await _site(here, f"{kind}-{days}")
        states, wrong = await outage(site, days)
        paid = paid_by(site)
        codes.append(
            printed(
                f"outage of {kind}, {days} days",
                began_at,
                seed=seed,
                videos=VIDEOS,
                states=dict(states),
                paid_jobs=len(paid),
                paid_again=len(paid) - len({(job["bucket"], job["key"]) for job in paid}),
                wrong=wrong,
            )
        )

    async with ground() as here, anyio.create_task_group() as side_by_side:
        for kind, outage in (("worker", _without_worker), ("AWS", _without_aws)):
            for days in (6.0, 7.5):
                side_by_side.start_soon(one, here, kind, days, outage)
    return max(codes)


async def _site(here: Ground, name: str) -> Site:
    site = await here.site(name)
    lanes(site, {"main": "us-east-1"}, start_per_second=25)
    site.configure(
        aws={
            "token_seconds": 7 * DAY_SECONDS,
            "results_seconds": 7 * DAY_SECONDS,
            "page_token_seconds": DAY_SECONDS,
        },
        moderation={"min_confidence": 90.0, "first_due_seconds": 5},
        local={
            "videos": VIDEOS,
            "speed": SPEED,
            "job_seconds": JOB_SECONDS * SPEED,
            "job_seconds_per_video_second": 0,
        },
    )
    site.service()
    return site


async def _without_worker(site: Site, days: float) -> tuple[Counter[str], list[str]]:
    worker = site.start("backfill", ARCHIVE)
    await anyio.to_thread.run_sync(_until_a_third_is_bought, site)
    kill(worker)
    await anyio.sleep(days * DAY_SECONDS)
    wrong = []
    again = await _finished(site.start("backfill", ARCHIVE))
    if days > 7:
        if again.returncode != 2 or "--not-restored" not in again.stderr:
            wrong.append(f"a database of {days} days ago was worked on: {again.returncode}, {again.stderr[-300:]}")
        again = await _finished(site.start("backfill", ARCHIVE, "--not-restored"))
    wrong += [] if again.returncode in (0, 1) else [f"ended with {again.returncode}: {again.stderr[-500:]}"]
    return await _looked_at(site, days, wrong)


async def _without_aws(site: Site, days: float) -> tuple[Counter[str], list[str]]:
    worker = site.start("backfill", ARCHIVE)
    await anyio.to_thread.run_sync(_until_a_third_is_bought, site)
    site.put_faults({"calls": [{"fault": "reset"}]})
    await anyio.sleep(days * DAY_SECONDS)
    site.put_faults({})
    ended = await _finished(worker)
    wrong = [] if ended.returncode in (0, 1) else [f"ended with {ended.returncode}: {ended.stderr[-500:]}"]
    return await _looked_at(site, days, wrong)


def _until_a_third_is_bought(site: Site) -> None:
    until(lambda: site.ledger()["paid_jobs"] >= VIDEOS // 3)


async def _finished(worker: WorkerProcess) -> subprocess.CompletedProcess[str]:
    return await anyio.to_thread.run_sync(partial(finished, worker, seconds=600))


async def _looked_at(site: Site, days: float, wrong: list[str]) -> tuple[Counter[str], list[str]]:
    states = await states_in(site.database_url)
    told(f"{days} days: {dict(states)}")
    found = await findings(site, registered=VIDEOS, are_labels_read=days < 7)
    if days < 7:
        wrong += found
        wrong += [f"{states[state]} videos are {state}" for state in ("uncertain", "expired") if states[state]]
    else:  # what had expired cannot be compared any more
        wrong += [finding for finding in found if "SUCCEEDED and is not done" not in finding and "$" not in finding]
        wrong += [] if states["expired"] else ["nothing expired"]
    return states, wrong

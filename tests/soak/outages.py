"""Outages of 6 and of 7.5 days, of the worker and of AWS: on the service's clock a week passes in a minute.

The worker's `[aws]` lifetimes are scaled with it.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.soak.ground import ARCHIVE, Ground, ground, lanes, printed, told, until
from tests.system.checker import findings
from tests.system.site import Site, finished, kill
from tests.system.truth import paid_by, states_in

SPEED = 10_080.0
DAY_SECONDS = 86_400 / SPEED
JOB_SECONDS = 2.0
VIDEOS = 200


async def run(seed: int) -> int:
    """Each kind of outage, short and long."""
    kinds = {"worker": _without_worker, "AWS": _without_aws}
    codes = []
    for kind, outage in kinds.items():
        for days in (6.0, 7.5):
            began_at = time.monotonic()
            async with ground() as here:
                site = await _site(here)
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
    return max(codes)


async def _site(here: Ground) -> Site:
    site = await here.site("outage")
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
    until(lambda: site.ledger()["paid_jobs"] >= VIDEOS // 3)
    kill(worker)
    time.sleep(days * DAY_SECONDS)
    wrong = []
    again = finished(site.start("backfill", ARCHIVE), seconds=300)
    if days > 7:
        if again.returncode != 2 or "--not-restored" not in again.stderr:
            wrong.append(f"a database of {days} days ago was worked on: {again.returncode}, {again.stderr[-300:]}")
        again = finished(site.start("backfill", ARCHIVE, "--not-restored"), seconds=300)
    return await _looked_at(site, days, wrong)


async def _without_aws(site: Site, days: float) -> tuple[Counter[str], list[str]]:
    worker = site.start("backfill", ARCHIVE)
    until(lambda: site.ledger()["paid_jobs"] >= VIDEOS // 3)
    site.put_faults({"calls": [{"fault": "reset"}]})
    time.sleep(days * DAY_SECONDS)
    site.put_faults({})
    finished(worker, seconds=300)
    return await _looked_at(site, days, [])


async def _looked_at(site: Site, days: float, wrong: list[str]) -> tuple[Counter[str], list[str]]:
    states = await states_in(site.database_url)
    told(f"{days} days: {dict(states)}")
    found = await findings(site, registered=VIDEOS)
    if days < 7:
        wrong += found
        wrong += [f"{states[state]} videos are {state}" for state in ("uncertain", "expired") if states[state]]
    else:  # what had expired cannot be compared any more
        wrong += [finding for finding in found if "SUCCEEDED and is not done" not in finding and "$" not in finding]
        wrong += [] if states["expired"] else ["nothing expired"]
    return states, wrong

"""AWS refuses the accounts for 90 seconds of true time: no video changes its state, and few calls are made."""

from __future__ import annotations

import time
from typing import Any

from tests.soak.ground import ARCHIVE, ground, jobs_faster, lanes, printed, until
from tests.system.checker import findings
from tests.system.site import Site, finished
from tests.system.truth import rows_in

LANES = {"a": "us-east-1", "b": "us-west-2"}
SETTLING_SECONDS = 5.0  # calls that were under way, pages that were read and not written
PROBE_SECONDS = 30
RESUMED_WITHIN_SECONDS = 35.0
DENIED = "AccessDeniedException"


async def run(seconds: float) -> int:
    """Refuse every call in the middle of a backfill, and let it go on."""
    began_at = time.monotonic()
    async with ground() as here:
        site = await here.site("denied")
        lanes(site, LANES, start_per_second=20, get_per_second=50)
        site.configure(
            worker={"lease_seconds": 15},
            local={"videos": 2000, **jobs_faster(20)},
            moderation={"min_confidence": 90.0},
        )
        site.service()
        finished(site.start("enqueue", ARCHIVE))
        worker = site.start("run")
        until(lambda: site.ledger()["paid_jobs"] >= 100, within_seconds=120)
        fault = {"fault": "error", "code": DENIED}
        site.put_faults({"calls": [fault]})
        time.sleep(SETTLING_SECONDS)
        before, refused_before = await _states(site), _refused(site)
        time.sleep(seconds - SETTLING_SECONDS)
        after, refused_after = await _states(site), _refused(site)
        site.put_faults({})
        allowed_at = time.monotonic()
        paid = site.ledger()["paid_jobs"]
        until(lambda: site.ledger()["paid_jobs"] > paid, within_seconds=60)
        resumed_seconds = time.monotonic() - allowed_at
        worker.terminate()
        finished(worker)
        done = finished(site.start("run", "--until-empty"), seconds=1200)
        wrong = await findings(site, registered=2000)
        probes = refused_after - refused_before
        most = len(LANES) * -(-seconds // PROBE_SECONDS)
        wrong += [f"states changed from {before} to {after}"] if before != after else []
        wrong += [f"{probes} probes, {most:.0f} are allowed"] if probes > most else []
        wrong += [f"resumed after {resumed_seconds:.1f} s"] if resumed_seconds > RESUMED_WITHIN_SECONDS else []
        wrong += [f"the backfill ended with {done.returncode}"] if done.returncode else []
        return printed(
            "denied",
            began_at,
            denied_seconds=seconds,
            probes=probes,
            lanes=len(LANES),
            calls_refused_at_first=refused_before,
            resumed_seconds=round(resumed_seconds, 1),
            wrong=wrong,
        )


async def _states(site: Site) -> list[tuple[Any, ...]]:
    rows = await rows_in(site.database_url, "select state, count(*) from video group by state order by state")
    return [tuple(row) for row in rows]


def _refused(site: Site) -> int:
    return sum(outcomes.get(DENIED, 0) for outcomes in site.ledger()["calls"].values())

"""Three in ten Starts are executed and their answers lost."""

from __future__ import annotations

import time

from tests.soak.ground import ARCHIVE, ground, jobs_faster, lanes, printed
from tests.system.checker import findings
from tests.system.site import finished

LOST_SHARE = 0.3
MIN_CONFIDENCE = 99.0  # few labels: it is the Starts that count here
FAULTS = f"""
[[calls]]
fault = "reset"
operations = ["StartContentModeration"]
executed = true
share = {LOST_SHARE}
"""


async def run(videos: int, seed: int) -> int:
    """Backfill an archive, and look at the books of both sides."""
    began_at = time.monotonic()
    async with ground() as here:
        site = await here.site("starts")
        faults = site.folder / "faults.toml"
        faults.write_text(f"seed = {seed}\n{FAULTS}")
        lanes(
            site,
            {"a": "us-east-1", "b": "us-west-2"},
            start_per_second=1000,
            get_per_second=1000,
            concurrent_jobs=2000,
        )
        site.configure(
            moderation={"min_confidence": MIN_CONFIDENCE, "first_due_seconds": 5},
            local={"videos": videos, "faults": str(faults), **jobs_faster(60)},
        )
        site.service()
        done = finished(site.start("backfill", ARCHIVE), seconds=7200)
        wrong = await findings(site, registered=videos)
        if done.returncode != 1:
            wrong.append(f"the backfill ended with {done.returncode}: {done.stderr[-500:]}")
        ledger = site.ledger()
        starts = ledger["calls"]["StartContentModeration"]
        return printed(
            "starts",
            began_at,
            seed=seed,
            videos=videos,
            starts=starts,
            paid_jobs=ledger["paid_jobs"],
            replays=ledger["replays"],
            double_starts=ledger["paid_jobs"] - videos,
            wrong=wrong,
        )

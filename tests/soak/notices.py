"""All notices lost; every notice tenfold and shuffled."""

from __future__ import annotations

import statistics
import time

from tests.soak.ground import ARCHIVE, Ground, ground, jobs_faster, lanes, printed
from tests.system.checker import findings
from tests.system.site import finished
from tests.system.truth import rows_in

LOST = """
[[notices]]
fault = "lost"
"""
TENFOLD = """
[[notices]]
fault = "doubled"
copies = 10

[[notices]]
fault = "late"
share = 0.3
seconds = 1

[[notices]]
fault = "late"
share = 0.3
seconds = 3
"""
MOST_EXTRA_GETS = 1.5


async def run(videos: int, seed: int) -> int:
    """Backfill an archive under each of the two plans."""
    return max([await _under(name, plan, videos, seed) for name, plan in (("lost", LOST), ("tenfold", TENFOLD))])


async def _under(name: str, plan: str, videos: int, seed: int) -> int:
    began_at = time.monotonic()
    async with ground() as here:
        extra_gets, calls, wrong = await _backfill(here, plan, videos, seed)
    if extra_gets > MOST_EXTRA_GETS:
        wrong.append(f"{extra_gets} extra Gets a job in the median")
    return printed(
        f"notices {name}", began_at, seed=seed, videos=videos, extra_gets_median=extra_gets, calls=calls, wrong=wrong
    )


async def _backfill(here: Ground, plan: str, videos: int, seed: int) -> tuple[float, dict[str, int], list[str]]:
    site = await here.site("notices")
    faults = site.folder / "faults.toml"
    faults.write_text(f"seed = {seed}\n{plan}")
    lanes(site, {"main": "us-east-1"})
    # Jobs of 5 s and a tenth of the video's length, six times as fast: some take longer than the first due time.
    site.configure(
        moderation={"min_confidence": 90.0, "first_due_seconds": 3},
        local={"videos": videos, "faults": str(faults), **jobs_faster(6)},
    )
    site.service()
    done = finished(site.start("backfill", ARCHIVE), seconds=3600)
    wrong = await findings(site, registered=videos)
    if done.returncode != 1:
        wrong.append(f"the backfill ended with {done.returncode}: {done.stderr[-500:]}")
    asked = [row["asked"] for row in await rows_in(site.database_url, "select asked from job")]
    return statistics.median(asked), site.ledger()["calls"]["GetContentModeration"], wrong

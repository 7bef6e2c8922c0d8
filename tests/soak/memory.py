"""Many jobs and pages through one process: its memory stays where it was after the first tenth."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.soak.ground import ARCHIVE, ground, jobs_faster, lanes, printed, told
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished
from tests.system.truth import rows_in

LABELS_A_PAGE = 5
MIN_CONFIDENCE = 95.0
SAMPLE_SECONDS = 5.0
MOST_GROWTH = 0.05
MEGABYTE = 2**20


async def run(videos: int) -> int:
    """Backfill an archive with small pages in one process, and look at its memory as it goes."""
    began_at = time.monotonic()
    async with ground() as here:
        site = await here.site("memory")
        lanes(site, {"main": "us-east-1"}, start_per_second=2000, get_per_second=5000, concurrent_jobs=5000)
        site.configure(
            moderation={"min_confidence": MIN_CONFIDENCE},
            local={"videos": videos, "largest_page": LABELS_A_PAGE, **jobs_faster(60)},
        )
        site.service()
        assert finished(site.start("enqueue", ARCHIVE), seconds=600).returncode == 0
        worker = site.start("run", "--until-empty")
        samples = await _sampled(site, worker, videos)
        code = finished(worker).returncode
        pages = site.ledger()["calls"]["GetContentModeration"]["ok"]
        start = next(bytes_ for done, bytes_ in samples if done >= videos / 10)
        highest = max(bytes_ for done, bytes_ in samples if done >= videos / 10)
        growth = highest / start - 1
        wrong = [f"the memory grew by {growth:.1%}"] if growth > MOST_GROWTH else []
        wrong += [f"the process ended with {code}"] if code else []
        return printed(
            "memory",
            began_at,
            jobs=videos,
            pages=pages,
            after_a_tenth_mb=round(start / MEGABYTE, 1),
            highest_after_it_mb=round(highest / MEGABYTE, 1),
            growth=round(growth, 4),
            samples_mb=[round(bytes_ / MEGABYTE, 1) for _, bytes_ in samples[:: max(1, len(samples) // 20)]],
            wrong=wrong,
        )


async def _sampled(site: Site, worker: WorkerProcess, videos: int) -> list[tuple[int, int]]:
    """(videos settled, resident bytes) every few seconds."""
    samples: list[tuple[int, int]] = []
    while worker.poll() is None:
        ((done,),) = await rows_in(site.database_url, "select coalesce(sum(done + failed), 0)::bigint from tally")
        if resident := _resident_bytes(worker.pid):
            samples.append((done, resident))
        if len(samples) % 12 == 0:
            told(f"{done} of {videos} videos, {samples[-1][1] / MEGABYTE:.1f} MB")
        time.sleep(SAMPLE_SECONDS)
    return samples


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return 0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0

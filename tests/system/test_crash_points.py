"""A process dies, loses an answer or stands still at a point of the protocol: nothing is lost, doubled or paid twice.

`make soak` goes through all places; here a seeded sample of each crash point is drawn.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from tests.system.checker import findings
from tests.system.crashes import (
    ARCHIVE,
    CRASH_POINTS,
    KEYS,
    Crash,
    Recovery,
    all_crashes,
    crash_and_recover,
    crash_site,
    places,
)
from tests.system.site import ROOT, Site, finished, jobs_faster, until
from worker.local.analysts.bucket_names import EDGE_CASES_BUCKET

CRASHES = 5  # beyond one of each crash point


@pytest.mark.parametrize("crash_point", CRASH_POINTS)
async def test_crash_point(crash_point: str, fresh_url: Callable[[], str], tmp_path: Path):
    """Whatever place of it a worker dies at, or loses an answer at, another one ends its work; the books are true."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await _recover_from([random.Random(seed).choice(all_crashes(crash_point))], fresh_url, tmp_path)


async def test_crash_points_at_random(fresh_url: Callable[[], str], tmp_path: Path):
    """Some more of all of them, side by side on one service."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await _recover_from(random.Random(seed).sample(all_crashes(), CRASHES), fresh_url, tmp_path)


async def _recover_from(crashes: list[Crash], fresh_url: Callable[[], str], folder: Path) -> None:
    recoveries: list[Recovery] = []
    with ExitStack() as sites:
        prepared = []
        for number, crash in enumerate(crashes):
            (folder / str(number)).mkdir()
            site = crash_site(folder / str(number), fresh_url(), folder / "data", f"lane{number}")
            prepared.append((sites.enter_context(site), crash))
        prepared[0][0].service()

        async def recover(site: Site, crash: Crash) -> None:
            recoveries.append(await crash_and_recover(site, crash))

        async with anyio.create_task_group() as all_at_once:
            for site, crash in prepared:
                all_at_once.start_soon(recover, site, crash)
    for recovery in recoveries:
        print(f"{recovery.crash}: happened {recovery.happened}, {recovery.seconds:.1f} s")
    assert not [(str(recovery.crash), recovery.wrong, recovery.logs) for recovery in recoveries if recovery.wrong]


@pytest.fixture
def edge_site(tmp_path: Path, database_url: str):
    """A site with the archive of the crashes."""
    with crash_site(tmp_path, database_url, tmp_path / "data", "main") as site:
        site.service()
        yield site


async def test_crash_point_8_message_outlives_the_process(edge_site: Site):
    """A notice whose mark is not committed stays on the queue: it is deleted after the commit, never before."""
    archive = edge_site.folder / "one.csv"
    archive.write_text(f"{EDGE_CASES_BUCKET},three-versions.mp4\n")
    finished(edge_site.start("backfill", str(archive), failpoints={"mark_finished: before": ("kill", 1)}))
    attributes = edge_site.client("sqs").get_queue_attributes(
        QueueUrl=edge_site.lane().queue_url, AttributeNames=["All"]
    )["Attributes"]
    assert int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"]) > 0


async def test_crash_point_11_page_token_expired(edge_site: Site):
    """A token that has expired lets the reading start over; what was written is skipped; the labels are the same."""
    done = edge_site.run("backfill", str(edge_site.folder / ARCHIVE))
    assert done.returncode == 1, done.stderr
    assert edge_site.ledger()["calls"]["GetContentModeration"]["InvalidPaginationTokenException"] == 1
    assert await findings(edge_site, registered=len(KEYS)) == []


async def test_crash_point_14_sigterm_anywhere(site: Site):
    """SIGTERM at a random moment: the process ends within its grace, its lanes are free, and the next one goes on."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    site.configure(local={"videos": 60} | jobs_faster(60), worker={"lease_seconds": 60, "shutdown_grace_seconds": 10})
    site.service()
    worker = site.start("backfill", "s3://synthetic-archive/")
    time.sleep(random.Random(seed).uniform(0, 2))
    worker.terminate()
    begun_at = time.monotonic()
    finished(worker, seconds=30)
    assert time.monotonic() - begun_at < 10
    assert site.run("backfill", "s3://synthetic-archive/", seconds=50).returncode == 1  # a lease left would last 60 s
    assert await findings(site, registered=60) == []


async def test_crash_point_15_stopped_beyond_its_lease(site: Site):
    """A process that stood still until another one had its lane makes no more calls, and its late facts do no harm."""
    site.configure(local={"videos": 200} | jobs_faster(60), worker={"lease_seconds": 1})
    site.service()
    stopped = site.start("backfill", "s3://synthetic-archive/")
    until(lambda: site.ledger()["paid_jobs"] >= 20)
    stopped.send_signal(signal.SIGSTOP)
    second = site.start("backfill", "s3://synthetic-archive/")
    until(lambda: site.ledger()["paid_jobs"] >= 60, within_seconds=90)
    stopped.send_signal(signal.SIGCONT)
    ended = finished(second)
    assert ended.returncode == 1, ended.stderr
    awake = finished(stopped)
    assert "lane lost" in awake.stderr
    assert awake.returncode == 1
    assert await findings(site, registered=200) == []


def test_every_place_of_the_code_is_in_the_list_of_crash_points():
    """A commit or a call that the code gains cannot be forgotten."""
    named = {place.partition(": ")[0] for place in places()}
    in_code = {name for path in (ROOT / "worker").rglob("*.py") for name in PLACE.findall(path.read_text())}
    assert in_code - named == ELSEWHERE
    assert named - in_code == CALLED_BY_VARIABLE


PLACE = re.compile(r'\b(?:transaction|commit|around|unpaced_call)\((?:\s*connection, )?\s*"(\w+)"')
ELSEWHERE = {
    *("move_intent_to_channel", "drop_pages"),  # of few videos
    "take_slab",  # of a lane that has run dry
    *("suspicion", "accept", "mark_uncertain", "pause_suspected", "pause_failing_backfills"),  # of the books themselves
    *("pause_backfill", "cancel_backfill", "resume_backfill", "write_audit"),  # of an operator
    *("write_retry_down", "retry_batch", "mark_purging", "purge_videos", "purge_jobs", "forget_backfill"),
}
"""Each has tests of its own."""
CALLED_BY_VARIABLE = {
    *("HeadObject", "StartContentModeration", "GetContentModeration"),
    *("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"),
}

"""Which backfill is next: the most urgent one, soon; and equally urgent ones in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.checker import findings
from tests.system.site import Site, finished, until
from tests.system.truth import rows_in

BUCKET = "synthetic-archive"
STARTS_PER_SECOND = 20
SECONDS_TO_OVERTAKE = 2
JOBS = """
select b.name from job j join video v on v.job_id = j.id join backfill b on b.id = v.backfill_id order by j.id
"""


@pytest.fixture
def site(site: Site) -> Site:
    """A site whose starts take a while."""
    site.configure(local={"videos": 300}, lanes__main={"start_per_second": STARTS_PER_SECOND})
    site.service()
    return site


@pytest.fixture
def keys(site: Site) -> list[str]:
    """The keys of the archive."""
    found = site.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [entry["Key"] for page in found for entry in page["Contents"]]


def enqueue(site: Site, name: str, keys: list[str], *options: str) -> None:
    """Register some keys as a backfill of that name."""
    manifest = Path(site.folder / f"{name}.csv")
    manifest.write_text("".join(f"{BUCKET},{key}\n" for key in keys))
    done = site.run("enqueue", str(manifest), "--name", name, *options)
    assert done.returncode == 0, done.stderr


async def test_equally_urgent_backfills_take_turns(site: Site, keys: list[str]):
    """Whoever came first does not keep the others waiting until it is done."""
    for number, name in enumerate(("first", "second", "third")):
        enqueue(site, name, keys[number * 40 : (number + 1) * 40])
    assert site.run("run", "--until-empty").returncode == 0
    names = [row["name"] for row in await rows_in(site.database_url, JOBS)]
    assert len(names) == 120
    early = names[:60]
    assert all(early.count(name) >= 15 for name in ("first", "second", "third")), early


async def test_live_videos_overtake_an_archive(site: Site, keys: list[str]):
    """What is more urgent is next within two seconds of the pace, however much was registered before."""
    enqueue(site, "archive", keys[10:])
    worker = site.start("run", "--until-empty")
    until(lambda: site.ledger()["paid_jobs"] >= STARTS_PER_SECOND)
    enqueue(site, "live", keys[:10], "--priority", "10")
    started = site.ledger()["paid_jobs"]
    finished(worker)
    names = [row["name"] for row in await rows_in(site.database_url, JOBS)]
    assert names.index("live") - started <= SECONDS_TO_OVERTAKE * STARTS_PER_SECOND
    first = names.index("live")
    assert names[first : first + 10] == ["live"] * 10


async def test_lane_that_runs_dry_helps_the_others(site: Site, keys: list[str]):
    """What was registered for one lane is worked on by all of its region, and each video is paid once."""
    enqueue(site, "archive", keys)
    site.configure(lanes__other=site.local_lane("us-east-1", start_per_second=STARTS_PER_SECOND))
    assert site.run("run", "--until-empty", "--lanes", "main,other").returncode in (0, 1)
    sql = "select l.name, count(*) as jobs from job j join lane l on l.id = j.lane_id group by 1"
    jobs = {row["name"]: row["jobs"] for row in await rows_in(site.database_url, sql)}
    assert jobs["main"] > 75
    assert jobs["other"] > 75
    assert await findings(site, registered=len(keys)) == []

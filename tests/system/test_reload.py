"""SIGHUP: a worker heeds its changed config file, loses nothing by it, and keeps the old one if the new is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.system.checker import findings
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished, until
from tests.system.truth import rows_in
from worker.config import Lane
from worker.local.accounts import access_key_of, account_of, local_lane

ARCHIVE = "s3://synthetic-archive/"
VIDEOS = 100
SLOW = 2.0  # starts a second: without other settings the backfill takes a minute
LANES = ("main", "other")


@pytest.fixture
def site(site: Site) -> Site:
    """Two lanes that use a service by its URL, each in an account of its own; the file has the first."""
    site.configure(local={"videos": VIDEOS}, lanes__other=site.local_lane("us-east-1"))
    site.service()
    keys = {name: access_key_of(account_of(name)) for name in LANES}
    profiles = [f"[{name}]\naws_access_key_id={key}\naws_secret_access_key=x\n" for name, key in keys.items()]
    (site.folder / "credentials").write_text("\n".join(profiles))
    configure_lanes(site, "main", start_per_second=SLOW)
    return site


def configure_lanes(site: Site, *names: str, **changes: Any) -> None:
    """Write a file with these lanes only."""
    for name in LANES:
        site.sections.pop(f"lanes.{name}", None)
    for name in names:
        lane = local_lane(name, Lane(**site.local_lane("us-east-1")), site.service_url() or "")
        site.configure(**{f"lanes__{name}": lane.model_dump(exclude_defaults=True) | {"profile": name} | changes})


def run(site: Site, *arguments: str) -> WorkerProcess:
    return site.start(*arguments, environment={"AWS_SHARED_CREDENTIALS_FILE": str(site.folder / "credentials")})


def begun(site: Site, *arguments: str) -> WorkerProcess:
    """A worker that has started its first job."""
    enqueued = finished(run(site, "enqueue", ARCHIVE, "--name", "archive"))
    assert enqueued.returncode == 0, enqueued.stderr
    worker = run(site, "run", "--until-empty", *arguments)
    until(lambda: worker.poll() is not None or site.ledger()["paid_jobs"] > 0)
    assert worker.poll() is None, worker.stderr.read()
    return worker


def ended(worker: WorkerProcess) -> list[dict[str, Any]]:
    """The worker's log, once nothing is left."""
    done = finished(worker, seconds=45)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def told(log: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in log if line["event"] == event]


def next_told(worker: WorkerProcess, event: str) -> dict[str, Any]:
    """The next line of that sentence, as soon as it is written."""
    for text in worker.stderr:
        line = json.loads(text)
        if line["event"] == event:
            return dict(line)
    raise AssertionError(f"it ended without saying: {event}")


async def until_owned(site: Site, names: set[str], within_seconds: float = 20.0) -> None:
    """Wait until these lanes are owned, and no others."""
    async with asyncio.timeout(within_seconds):
        owned: set[str] = set()
        while owned != names:
            rows = await rows_in(site.database_url, "select name from lane where expires_at > clock_timestamp()")
            owned = {row["name"] for row in rows}


async def test_other_quotas_hold_at_once(site: Site):
    """A rate that was raised in the file is used after SIGHUP: what would take a minute ends soon."""
    worker = begun(site)
    configure_lanes(site, "main")
    worker.send_signal(signal.SIGHUP)
    log = ended(worker)
    (line,) = told(log, "config file read again")
    assert line["adjusted"] == ["main"]
    assert len(told(log, "lane taken")) == 1
    assert await findings(site, registered=VIDEOS) == []


async def test_lanes_come_and_go(site: Site):
    """A lane that is new in the file is taken, one that is gone is given back, and nothing is lost by either."""
    worker = begun(site)
    configure_lanes(site, "main", "other", start_per_second=SLOW)
    worker.send_signal(signal.SIGHUP)
    await until_owned(site, {"main", "other"})
    configure_lanes(site, "other", start_per_second=SLOW)
    worker.send_signal(signal.SIGHUP)
    await until_owned(site, {"other"})
    configure_lanes(site, "main", "other", start_per_second=SLOW)
    worker.send_signal(signal.SIGHUP)
    await until_owned(site, {"main", "other"})
    configure_lanes(site, "main", "other")
    worker.send_signal(signal.SIGHUP)
    log = ended(worker)
    changes = [
        {kind: names for kind, names in line.items() if kind in ("added", "removed", "adjusted", "reopened")}
        for line in told(log, "config file read again")
    ]
    assert changes[:3] == [{"added": ["other"]}, {"removed": ["main"]}, {"added": ["main"]}]
    assert [line["lane"] for line in told(log, "lane taken")][:3] == ["main", "other", "main"]
    assert await findings(site, registered=VIDEOS) == []


async def test_lane_with_another_queue_is_taken_anew(site: Site):
    """Where more than quotas is another one, the lane is given up and taken again, and no job is bought twice."""
    worker = begun(site)
    configure_lanes(site, "main", sns_topic_arn=f"{site.sections['lanes.main']['sns_topic_arn']}-2")
    worker.send_signal(signal.SIGHUP)
    log = ended(worker)
    assert told(log, "config file read again")[0]["reopened"] == ["main"]
    assert len(told(log, "lane taken")) == 2
    assert await findings(site, registered=VIDEOS) == []


async def test_lane_that_is_left_alone_is_not_waited_for(site: Site):
    """Where a new lane's profile is not there, nobody can take its arrivals, and the others come to their end."""
    worker = begun(site)
    configure_lanes(site, "main", "other")
    queue_url = f"{site.sections['lanes.other']['queue_url']}-uploads"
    arrivals = {"queue_url": queue_url, "backfill": "uploads"}
    site.configure(lanes__other={"profile": "nobody"}, lanes__other__arrivals=arrivals)
    worker.send_signal(signal.SIGHUP)
    log = ended(worker)
    (line,) = told(log, "lane left alone until the config file is another one")
    assert line["lane"] == "other"
    assert await findings(site, registered=VIDEOS) == []


async def test_wrong_file_changes_nothing(site: Site):
    """A file with mistakes, one without a chosen lane, and one that moves a lane are refused; the worker goes on."""
    worker = begun(site, "--lanes", "main")
    right, reasons = site.config_file.read_text(), []
    for wrong in (
        "[lanes.main]\nregion = 7\n",
        right.replace("lanes.main", "lanes.elsewhere"),
        right.replace('region = "us-east-1"', 'region = "eu-west-1"').replace("sns:us-east-1", "sns:eu-west-1"),
    ):
        site.config_file.write_text(wrong)
        worker.send_signal(signal.SIGHUP)
        reasons.append(next_told(worker, "config file refused: the settings stay as they are")["reason"])
    site.config_file.write_text(right.replace(f"start_per_second = {SLOW}", "start_per_second = 200.0"))
    worker.send_signal(signal.SIGHUP)
    assert told(ended(worker), "config file read again")[0]["adjusted"] == ["main"]
    assert "mistake" in reasons[0]
    assert "lanes.main is missing" in reasons[1]
    assert "lane main is registered in us-east-1, the config file says eu-west-1" in reasons[2]
    assert await findings(site, registered=VIDEOS) == []


def test_what_needs_a_start_is_told(site: Site):
    """Keys that a running process cannot change are named, and hold from the next start on."""
    worker = begun(site)
    configure_lanes(site, "main")
    site.configure(worker={"lease_seconds": 4}, database={"pool_size": 9})
    worker.send_signal(signal.SIGHUP)
    (line,) = told(ended(worker), "some of it holds from the next start on")
    assert line["keys"] == ["database.pool_size", "worker.lease_seconds"]


def test_hangup_of_a_terminal_ends_a_backfill(site: Site):
    """`backfill` belongs to its terminal: SIGHUP stops it as SIGTERM does, with what was begun finished."""
    worker = run(site, "backfill", ARCHIVE)
    until(lambda: worker.poll() is not None or site.ledger()["paid_jobs"] > 0)
    worker.send_signal(signal.SIGHUP)
    done = finished(worker, seconds=30)
    assert done.returncode == 3, done.stderr
    assert "stopped early" in done.stderr

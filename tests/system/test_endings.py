"""How `backfill` and `run` end when they cannot, may not or need not go on: the exit code and the sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.system.conftest import Query
from tests.system.desk import Desk
from tests.system.processes import WorkerProcess
from tests.system.site import ROOT, Site, finished, jobs_faster, kill, until
from tests.system.small_aws import CREDENTIALS, SmallAws

ARCHIVE = "s3://synthetic-archive/"
WATCH_BUDGET = """
do $do$ begin
create table overrun (spent_usd numeric, reserved_usd numeric);
create function note_overrun() returns trigger language plpgsql as $$
begin
  insert into overrun
  select sum(t.spent_usd), sum(t.reserved_usd) from tally t join backfill b on b.id = t.backfill_id
   where b.id = new.backfill_id group by b.budget_usd having sum(t.spent_usd + t.reserved_usd) > b.budget_usd;
  return null;
end $$;
create trigger claim after update on tally for each row when (new.reserved_usd > old.reserved_usd)
  execute function note_overrun();
end $do$
"""
"""Notes every claim after which more is spent and reserved than the budget allows."""


@pytest.fixture
def site(site: Site) -> Site:
    """A site whose jobs end soon, with or without a notice."""
    site.configure(local=jobs_faster(20_000), moderation={"first_due_seconds": 0.5})
    return site


@pytest.fixture
def small_site(site: Site, aws: SmallAws) -> Site:
    """A site with one lane, on the smallest AWS."""
    site.sections["lanes.main"] = aws.lane()
    site.configure(worker={"probe_seconds": 0.2})
    return site


@pytest.fixture
def desk(site: Site, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Short commands on the site's config file."""
    return Desk(site.folder, capsys, site.sections)


def states(query: Query) -> Counter[str]:
    """Videos by state."""
    return Counter({row["state"]: row["count"] for row in query("select state, count(*) from video group by state")})


def owner(query: Query) -> str | None:
    """The process that holds the lane."""
    rows = query("select holder_name from lane where expires_at > clock_timestamp()")
    return rows[0]["holder_name"] if rows else None


def wait_for_line(process: WorkerProcess, text: str) -> None:
    """Read a process's log up to the line that holds the text."""
    assert process.stderr
    assert any(text in line for line in iter(process.stderr.readline, "")), f"it ended without {text!r}"


# No lane can work


@pytest.mark.parametrize(
    ("denied", "reason"),
    [
        ("StartContentModeration", "AccessDeniedException: not authorized to perform StartContentModeration"),
        ("HeadObject", "s3://archive/"),
        ("GetCallerIdentity", "InvalidClientTokenId: The security token is invalid"),
    ],
)
def test_denied_lanes_end_a_backfill_without_failing_a_video(
    small_site: Site, aws: SmallAws, query: Query, denied: str, reason: str
):
    """Where the only lane is denied, the backfill ends with 3 and AWS's words, and no video is to blame."""
    aws.denied.add(denied)
    done = small_site.run("backfill", "s3://archive/", environment=CREDENTIALS)
    assert done.returncode == 3, done.stderr
    assert f"modworker: backfill archive stopped early: no lane is able to work: lane main is denied ({reason}" in (
        done.stderr
    )
    assert set(states(query)) <= {"pending", "active"}
    assert "Traceback" not in done.stderr


def test_denied_lane_works_again_once_it_may(small_site: Site, aws: SmallAws, desk: Desk):
    """A worker that was denied probes on, and starts what waits as soon as it is let."""
    aws.denied.add("StartContentModeration")
    assert desk.run("enqueue", "s3://archive/") == 0
    worker = small_site.start("run", environment=CREDENTIALS)
    wait_for_line(worker, "lane denied")
    until(lambda: aws.calls.count("StartContentModeration") >= 3)
    aws.denied.clear()
    wait_for_line(worker, "lane works again")
    worker.terminate()
    assert finished(worker).returncode == 0


def test_run_until_empty_ends_where_every_lane_is_denied(small_site: Site, aws: SmallAws, desk: Desk):
    """`run --until-empty` does not wait for ever for a lane that AWS refuses."""
    aws.denied.add("StartContentModeration")
    assert desk.run("enqueue", "s3://archive/") == 0
    done = small_site.run("run", "--until-empty", environment=CREDENTIALS)
    assert done.returncode == 3
    assert "modworker: stopped early: no lane is able to work: lane main is denied" in done.stderr


def test_videos_of_absent_lanes_end_a_backfill(small_site: Site, desk: Desk):
    """Videos that were given to a lane which the config file no longer has are not waited for."""
    small_site.sections["lanes.other"] = small_site.sections.pop("lanes.main")
    assert desk.run("enqueue", "s3://archive/") == 0
    small_site.sections["lanes.main"] = small_site.sections.pop("lanes.other")
    assert desk.run("backfill", "s3://archive/") == 3
    assert "stopped early: its videos belong to lanes that are not worked on here (other)" in desk.err


# Told to wait


def test_backfill_that_is_paused_before_it_begins_pays_nothing(site: Site, desk: Desk, query: Query):
    """A paused backfill ends with 3 and says how to go on; resumed, the same command finishes it."""
    site.configure(local={"videos": 10})
    site.service()
    assert desk.run("enqueue", ARCHIVE, "--name", "films") == 0
    assert desk.run("pause", "films") == 0
    assert desk.run("backfill", ARCHIVE, "--name", "films") == 3
    assert "backfill films stopped early: it is paused (by hand); `modworker resume films` lets it go on" in desk.err
    assert site.ledger()["paid_jobs"] == 0
    assert desk.run("resume", "films") == 0
    assert desk.run("backfill", ARCHIVE, "--name", "films") in (0, 1)
    assert not {"pending", "active"} & set(states(query))


def test_backfill_that_is_paused_while_it_runs_finishes_what_it_began(site: Site, desk: Desk, query: Query):
    """Pausing starts nothing more; what runs is settled, then the command ends with 3."""
    site.configure(local={"videos": 200}, lanes__main={"start_per_second": 20})
    site.service()
    worker = site.start("backfill", ARCHIVE, "--name", "films")
    until(lambda: site.ledger()["paid_jobs"] >= 5)
    assert desk.run("pause", "films") == 0
    paused = finished(worker)
    assert paused.returncode == 3, paused.stderr
    assert "it is paused (by hand); `modworker resume films` lets it go on" in paused.stderr
    left = states(query)
    assert left["pending"] > 0
    assert left["active"] == 0
    assert site.ledger()["paid_jobs"] == 200 - left["pending"]


def test_budget_is_never_exceeded_at_a_claim_and_may_be_raised(site: Site, desk: Desk, query: Query):
    """A reached budget ends the backfill with 3; no claim went beyond it; a higher one lets the same command go on."""
    query(WATCH_BUDGET)
    site.configure(local={"videos": 60})
    site.service()
    assert desk.run("backfill", ARCHIVE, "--name", "films", "--budget-usd", "2") == 3
    assert "its budget of $2.00 is reached (" in desk.err
    assert "the same command with a higher --budget-usd goes on" in desk.err
    assert 0 < site.ledger()["paid_jobs"] < 60
    assert not query("select * from overrun")
    assert desk.run("run", "--until-empty") == 3
    assert "stopped early: backfill films: its budget of $2.00 is reached" in desk.err
    assert desk.run("backfill", ARCHIVE, "--name", "films", "--budget-usd", "1000") in (0, 1)
    assert site.ledger()["paid_jobs"] == 60
    assert query("select action, (detail ->> 'budget_usd')::float as usd from audit order by id") == [
        ("register", 2.0),
        ("budget", 1000.0),
    ]


# Several workers


def test_second_worker_stands_by_and_takes_over(site: Site, query: Query):
    """A worker that finds its lane owned says so, and takes it when the owner is told to end, or dies."""

    def worker(name: str) -> WorkerProcess:
        return site.start("run", environment={"MODWORKER_WORKER__NAME": name})

    site.configure(worker={"lease_seconds": 1})
    site.service()
    first = worker("first")
    wait_for_line(first, "lane taken")
    second = worker("second")
    wait_for_line(second, "standing by: the lane is owned by another process")
    assert owner(query) == "first"
    first.terminate()
    assert finished(first).returncode == 0
    wait_for_line(second, "lane taken")
    assert owner(query) == "second"
    third = worker("third")
    wait_for_line(third, "standing by")
    kill(second)
    wait_for_line(third, "lane taken")
    assert owner(query) == "third"
    third.terminate()
    assert finished(third).returncode == 0


def test_backfill_that_stands_by_ends_with_its_backfill(site: Site, query: Query):
    """A backfill whose lane another process owns ends when that one has finished it, with the code of its outcome."""
    site.configure(local={"videos": 30})
    site.service()
    owning = site.start("run")
    wait_for_line(owning, "lane taken")
    done = site.run("backfill", ARCHIVE)
    assert "standing by" in done.stderr
    assert sum(states(query).values()) == 30
    assert not {"pending", "active"} & set(states(query))
    assert done.returncode == (1 if states(query)["failed"] else 0)
    owning.terminate()
    assert finished(owning).returncode == 0


# Told to end


def test_run_until_empty_ends_when_nothing_is_left(site: Site, desk: Desk, query: Query):
    """`run --until-empty` finishes what is registered and ends with 0, whatever became of the videos."""
    site.configure(local={"videos": 20})
    site.service()
    assert desk.run("enqueue", ARCHIVE) == 0
    assert desk.run("run", "--until-empty") == 0
    assert not {"pending", "active"} & set(states(query))


def test_first_interrupt_waits_and_the_second_does_not(site: Site, portal: BlockingPortal, query: Query):
    """After one SIGINT the pages under way are written; a second one ends the command at once, with 3."""
    site.configure(local={"videos": 30}, worker={"shutdown_grace_seconds": 600})
    site.service()
    with portal.wrap_async_context_manager(locked(site.database_url, "detection")):
        worker = site.start("backfill", ARCHIVE)
        until(lambda: query("select from pg_locks where not granted and relation = 'detection'::regclass"))
        worker.send_signal(signal.SIGINT)
        wait_for_line(worker, "stopping: what was begun is finished")
        assert worker.poll() is None
        worker.send_signal(signal.SIGINT)
        done = finished(worker, seconds=20)
    assert done.returncode == 3
    assert "stopped early: it was told to stop; the same command goes on with the" in done.stderr
    assert owner(query) is None


@asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    """Let nobody else read or write a table."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"lock table {table}")
            yield
    finally:
        await connection.close()


def test_signal_while_registering_ends_at_once(small_site: Site, query: Query):
    """A backfill that still waits for its standard input ends with 3 when it is told to."""
    command = [sys.executable, "-m", "worker", "backfill", "-", "--config", str(small_site.config_file)]
    environment = {**os.environ, **CREDENTIALS, "TMPDIR": str(small_site.folder)}
    worker = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: list(small_site.folder.glob("modworker-*/standard-input.jsonl")))
        worker.terminate()
        assert worker.wait(timeout=20) == 3
        _, complaint = worker.communicate()
    finally:
        worker.kill()
    assert "was told to stop while it was registered; the same command goes on" in complaint
    assert not states(query)

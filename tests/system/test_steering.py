"""The operators' commands over real workers and the local service's ledger: what they say, and what they cost."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial

import pytest
from anyio.from_thread import BlockingPortal

from tests.system.checker import findings
from tests.system.conftest import Query
from tests.system.desk import Desk
from tests.system.site import Site, finished, jobs_faster, until
from tests.system.truth import starts_by_object
from worker.app import Application
from worker.config import Settings
from worker.local.analysts.bucket_names import EDGE_CASES_BUCKET
from worker.metrics import Metrics
from worker.process import WorkerProcess
from worker.store.database import Database
from worker.store.purge import Purge

ARCHIVE = "s3://synthetic-archive/"
UNREADABLE = """
[[calls]]
fault = "error"
operations = ["GetContentModeration"]
code = "InvalidParameterException"
times = 2
"""


@pytest.fixture
def site(site: Site) -> Site:
    """A site whose jobs end soon, with or without a notice."""
    site.configure(local=jobs_faster(20_000), moderation={"first_due_seconds": 0.5})
    return site


@pytest.fixture
def desk(site: Site, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Short commands on the site's config file."""
    return Desk(site.folder, capsys, site.sections)


def manifest(site: Site, *keys: str) -> str:
    """A manifest of edge cases."""
    path = site.folder / "films.csv"
    path.write_text("".join(f"{EDGE_CASES_BUCKET},{key}\n" for key in keys))
    return str(path)


def states(query: Query) -> Counter[str]:
    """Videos by state."""
    return Counter({row["state"]: row["count"] for row in query("select state, count(*) from video group by state")})


def decisions(desk: Desk, *options: str) -> list[str]:
    """The actions that `audit` tells, in the order of time."""
    assert desk.run("audit", "--json", *options) == 0
    return [entry["action"] for entry in json.loads(desk.out)]


def test_retry_buys_what_failed_and_reads_what_was_paid(site: Site, desk: Desk, query: Query, portal: BlockingPortal):
    """A FAILED job is bought again, an unreadable result is read again for nothing; the books agree."""
    faults = site.folder / "faults.toml"
    faults.write_text(UNREADABLE)
    site.configure(local={"faults": str(faults)}, moderation={"max_generations": 1})
    site.service()
    films = manifest(site, "no-labels.mp4", "one-label.mp4", "one-page.mp4", "unsupported-codec.mp4", "archived.mp4")
    assert desk.run("backfill", films, "--name", "films") == 1
    before = states(query)
    assert desk.run("retry", "films") == 0
    assert re.match(rf"backfill films: {before['failed']} videos tried again; [12] results? read again", desk.out)
    assert desk.run("backfill", films, "--name", "films") == 1
    assert states(query) == {"done": 3, "failed": 1, "skipped": 1}
    paid = starts_by_object(site)
    assert (paid[EDGE_CASES_BUCKET, "unsupported-codec.mp4"], paid.total()) == (2, 5)
    assert portal.call(partial(findings, site, registered=5)) == []
    assert desk.run("pause", "films") == 0
    assert desk.run("retry", "films", "--skipped") == 0
    held_up = "backfill films is paused; `modworker resume films` lets it go on"
    assert desk.out == f"backfill films: 2 videos tried again\n{held_up}\n"
    assert decisions(desk) == ["register", "retry", "pause", "retry"]


def test_what_may_have_been_paid_is_bought_again_by_the_operators_word_only(site: Site, desk: Desk, query: Query):
    """`retry` names the number, the price and the command; with consent the price is told first, and paid once."""
    site.service()
    films = manifest(site, "no-labels.mp4")
    lost = site.start("backfill", films, "--name", "films", failpoints={"StartContentModeration: after": ("kill", 1)})
    assert finished(lost).returncode == -9
    site.configure(aws={"token_seconds": 0.001})
    until(lambda: not query("select from lane where expires_at > clock_timestamp()"))
    assert desk.run("backfill", films, "--name", "films") == 1
    assert states(query) == {"uncertain": 1}
    for _ in range(2):
        assert desk.run("retry", "films") == 1
        sentence = r"1 video may have been paid already; buying them again costs about \$\d+\.\d\d"
        assert re.search(sentence + ": `modworker retry films --accept-repay`\n$", desk.out), desk.out
    assert site.ledger()["paid_jobs"] == 1
    assert decisions(desk) == ["register"]
    assert desk.run("retry", "films", "--accept-repay") == 0
    assert re.fullmatch(sentence + "\nbackfill films: 1 video tried again\n", desk.out), desk.out
    site.configure(aws={"token_seconds": 604_800})
    assert desk.run("backfill", films, "--name", "films") == 0
    assert site.ledger()["paid_jobs"] == 2
    assert decisions(desk) == ["register", "repay accepted"]
    assert desk.run("verify", "--thorough") == 0


def test_cancelled_backfill_ends_when_nothing_runs_any_more(site: Site, desk: Desk, query: Query):
    """Cancelling starts nothing more and ends the command; resumed, the same command finishes the backfill."""
    site.configure(local={"videos": 120}, lanes__main={"start_per_second": 20})
    site.service()
    worker = site.start("backfill", ARCHIVE, "--name", "films")
    until(lambda: site.ledger()["paid_jobs"] >= 5)
    assert desk.run("cancel", "films") == 0
    assert re.match(r"backfill films is cancelled: \d+ pending videos skipped, \d+ active to be finished", desk.out)
    done = finished(worker)
    assert done.returncode in (0, 1), done.stderr
    assert "backfill films is cancelled; `modworker resume films` lets it go on" in done.stderr
    left = states(query)["pending"]
    assert (left > 0, states(query)["active"], site.ledger()["paid_jobs"]) == (True, 0, 120 - left)
    assert f"{left:,} skipped" in done.stdout
    assert desk.run("cancel", "films") == 0
    assert desk.run("pause", "films") == 0
    assert desk.run("resume", "films") == 0
    assert desk.out == "backfill films goes on; it was paused (by hand) and cancelled\n"
    assert desk.run("backfill", ARCHIVE, "--name", "films") in (0, 1)
    assert site.ledger()["paid_jobs"] == 120
    assert decisions(desk) == ["register", "cancel", "pause", "resume"]


def test_purged_backfill_is_gone_and_its_sharer_is_not(site: Site, desk: Desk, query: Query):
    """An unfinished backfill is refused; a cancelled one goes, but for what another one shares."""
    site.configure(local={"videos": 10})
    site.service()
    assert desk.run("backfill", ARCHIVE, "--name", "films") in (0, 1)
    assert desk.run("backfill", ARCHIVE, "--name", "sharer") in (0, 1)
    labels = query("select count(*) from moderation_labels where backfill = 'sharer'")
    site.configure(local={"videos": 12})
    assert desk.run("enqueue", manifest(site, "no-labels.mp4"), "--name", "films") == 0
    assert desk.run("purge", "films") == 2
    assert "backfill films is not final: 1 of its videos are pending and 0 active; cancel it first" in desk.complaint
    assert desk.run("cancel", "films") == 0
    assert desk.run("purge", "films") == 0
    assert re.match(
        r"backfill films is purged: 11 videos, \d+ jobs? and \d+ labels removed; 10 jobs that other", desk.out
    )
    assert desk.run("purge", "films") == 2
    assert query("select count(*) from moderation_labels where backfill = 'sharer'") == labels
    assert desk.run("verify", "--thorough") == 0
    assert desk.run("status", "--json") == 0
    assert [backfill["name"] for backfill in json.loads(desk.out)["backfills"]] == ["sharer"]
    assert decisions(desk, "--name", "films") == ["register", "cancel", "purge"]
    assert desk.run("backfill", ARCHIVE, "--name", "films") in (0, 1)
    assert site.ledger()["paid_jobs"] == 10


def test_reached_budget_is_told_by_status(site: Site, desk: Desk):
    """While an owner finds no money for what waits, the backfill is marked; with a higher budget it is not."""
    site.configure(local={"videos": 30}, worker={"lease_seconds": 1})
    site.service()
    assert desk.run("enqueue", ARCHIVE, "--name", "films", "--budget-usd", "0.0001") == 0  # less than any video costs
    worker = site.start("run")

    def is_reached() -> bool:
        assert desk.run("status", "--json") == 0
        return bool(json.loads(desk.out)["backfills"][0]["budget_reached"])

    until(is_reached)
    assert desk.run("status") == 0
    assert desk.out.startswith("backfill films, at its budget\n")
    assert desk.run("enqueue", ARCHIVE, "--name", "films", "--budget-usd", "1000") == 0
    until(lambda: not is_reached())
    worker.terminate()
    assert finished(worker).returncode == 0


def test_worker_stops_when_its_database_no_longer_serves_it(site: Site, query: Query):
    """A migration that serves this program changes nothing; one that does not ends it with a sentence and 2."""
    site.service()
    worker = site.start("run")
    until(lambda: query("select from lane where expires_at > clock_timestamp()"))
    record = "insert into schema_migration (version, sha256, serves) values ($1, 'any', $2)"
    query(record, "9998_compatible", 1)
    assert site.run("status").returncode == 0
    assert worker.poll() is None
    query(record, "9999_incompatible", 9999)
    stopped = finished(worker, seconds=30)
    assert stopped.returncode == 2, stopped.stderr
    assert "modworker: the database is newer than this program: it has migration 9999_incompatible" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not query("select from lane where expires_at > clock_timestamp()")  # the lane was given back


async def test_stop_before_the_lanes_are_stood_by_for(database: Database):
    """A worker that is told to stop before it has begun ends as any other."""
    settings = Settings(database={"url": "postgresql://unused"}, lanes={"main": {"region": "eu-west-1"}})
    worker = WorkerProcess(Application(settings, settings, database), Metrics(), None)
    worker.stop.request()
    await worker.run()


async def test_gauges_of_a_purged_backfill_are_forgotten(database: Database):
    """A worker that outlives a backfill does not tell its old figures for ever."""
    settings = Settings()
    application, metrics = Application(settings, settings, database), Metrics()
    worker = WorkerProcess(application, metrics, [])
    backfill = await application.registry.open_backfill(
        "films", settings.moderation, priority=None, budget_usd=1.0, who="an operator"
    )
    await worker._publish_books()
    assert b'backfill="films"' in metrics.render()[0]
    _ = [gone async for gone in Purge(database, backfill).run("an operator")]
    await worker._publish_books()
    assert b'backfill="films"' not in metrics.render()[0]


def test_unknown_names_are_told(site: Site, desk: Desk):
    """A name that no backfill has ends each command with 2 and says where the names are."""
    for command in ("pause", "resume", "cancel", "retry", "purge"):
        assert desk.run(command, "nothing") == 2
        assert desk.complaint.startswith("there is no backfill 'nothing'; `modworker status --config ")


def test_operator_is_named_in_the_audit(site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """The configured name stands for who decided, else user and host; each decision has a line."""
    site.service()
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("LOGNAME", "ann")
    assert desk.run("enqueue", manifest(site, "no-labels.mp4"), "--name", "films") == 0
    desk.sections["worker"]["name"] = "night shift"
    assert desk.run("pause", "films") == 0
    assert desk.run("audit") == 0
    head, register, pause = desk.out.splitlines()
    assert head.split() == ["when", "(UTC)", "who", "what", "backfill", "detail"]
    assert re.search(
        r"  ann@\S+ +register  films +budget_rule expected, max_generations 2, price_usd_per_minute 0\.1$", register
    )
    assert re.search(r"  night shift +pause +films +reason by hand$", pause)

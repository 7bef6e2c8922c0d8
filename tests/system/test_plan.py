"""`plan` over real sources, a real database and the local service's ledger: what it foretells; it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.store.steps import Steps
from tests.system.conftest import Query
from tests.system.desk import Desk
from tests.system.site import Sections, Site, jobs_faster
from tests.system.small_aws import SmallAws
from worker.store.database import open_database

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
VIDEOS, SETTLED = 400, 200
WITHIN = 0.15
USD_PER_MINUTE = 0.10

Value = Callable[..., Any]


@pytest.fixture
def value(query: Query) -> Value:
    """One value of the database."""
    return lambda sql, *arguments: query(sql, *arguments)[0][0]


@pytest.fixture
def desk(site: Site, capsys: pytest.CaptureFixture[str], aws: SmallAws) -> Desk:
    """A sound config file with a database and an AWS that answer."""
    sections: Sections = {
        "database": {"url": site.database_url, "data_dir": str(site.data_dir)},
        "worker": {"http_listen": ""},
        "lanes.main": aws.lane(start_per_second=5.0, get_per_second=20.0, concurrent_jobs=20),
    }
    return Desk(site.folder, capsys, sections)


def first_videos(site: Site) -> str:
    """A manifest of the archive's first ones."""
    page = site.client("s3").list_objects_v2(Bucket="synthetic-archive", MaxKeys=SETTLED)
    rows = [
        {"bucket": "synthetic-archive", "key": item["Key"], "size_bytes": item["Size"]} for item in page["Contents"]
    ]
    path = site.folder / "first.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def planned(desk: Desk, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The document of a plan."""
    assert desk.run("plan", *arguments, "--json") == code, desk.err
    document: dict[str, Any] = json.loads(desk.out.splitlines()[-1])
    return document


def test_rest_is_foretold_from_what_is_settled(site: Site, capsys: pytest.CaptureFixture[str], value: Value):
    """From the first 200 of 400 videos: cost and time of the rest are those that come true.

    The config file of the plan has no word on the service. Its three settings let another quota bind each: the time is
    that of the starts, or of the pages, that the rest then takes; where it is the jobs', only their quota is told.
    """
    site.configure(local={"videos": VIDEOS, **jobs_faster(2_000)})
    desk = Desk(site.folder, capsys, site.sections)
    site.service()
    assert desk.run("backfill", first_videos(site), "--name", "archive") in (0, 1)
    assert desk.run("enqueue", "s3://synthetic-archive/", "--name", "archive") == 0
    done, left = value("select count(*) from video where state = 'done'"), VIDEOS - SETTLED
    minutes_before, pages_before = site.ledger()["minutes"], value("select sum(next_page - 1) from job")

    unaware = {name: values for name, values in site.sections.items() if not name.startswith("local")}
    wide = {"start_per_second": 1000.0, "get_per_second": 1000.0, "concurrent_jobs": 1000}
    plans = {}
    for quota, few in (("start_per_second", 0.5), ("get_per_second", 1.0), ("concurrent_jobs", 1)):
        desk.sections = {**unaware, "lanes.main": unaware["lanes.main"] | wide | {quota: few}}
        plans[quota] = planned(desk, "--name", "archive", "--budget-usd", "1000")
        assert (plans[quota]["videos"], plans[quota]["binds"]) == (left, quota)
        assert plans[quota]["learned_from_jobs"] == done
        assert plans[quota]["reach"]["videos"] == left
    assert planned(desk, "--name", "archive", "--budget-usd", "30")["binds"] == "budget"

    desk.sections = site.sections
    assert desk.run("backfill", "s3://synthetic-archive/", "--name", "archive") in (0, 1)
    true_usd = (site.ledger()["minutes"] - minutes_before) * USD_PER_MINUTE
    true_pages = value("select sum(next_page - 1) from job") - pages_before
    assert all(plan["cost_usd"] == pytest.approx(true_usd, rel=WITHIN) for plan in plans.values())
    assert plans["start_per_second"]["seconds"] == pytest.approx(left / 0.5, rel=WITHIN)
    assert plans["get_per_second"]["seconds"] == pytest.approx(true_pages / 1.0, rel=WITHIN)
    assert planned(desk, "--name", "archive")["videos"] == 0
    print(f"${plans['get_per_second']['cost_usd']:.2f} of ${true_usd:.2f}, {true_pages:,} pages,", end=" ")
    print({quota: round(plan["seconds"]) for quota, plan in plans.items()})


def test_plan_changes_nothing(desk: Desk, value: Value):
    """Sources are counted; neither a video nor a lane is registered, and a guess is called a guess."""
    plan = planned(desk, "s3://archive/", "--budget-usd", "500")
    assert plan["videos"] == 3
    assert plan["learned_from_jobs"] == 0
    assert plan["assumptions"][0].startswith("too few jobs have settled yet, so these are guesses: 20 minutes")
    assert (
        value("select (select count(*) from video) + (select count(*) from lane) + (select count(*) from backfill)")
        == 0
    )


def test_plan_needs_no_database(desk: Desk):
    """One that cannot be reached is told, without its password; sources are counted all the same."""
    desk.sections["database"]["url"] = NOWHERE.replace("nobody", "nobody:hunter2")
    plan = planned(desk, "s3://archive/")
    assert (plan["videos"], plan["at"]) == (3, None)
    assert plan["assumptions"][0].startswith("the database tells nothing (the database at postgresql://nobody:***@")
    assert "hunter2" not in desk.out + desk.err


def test_plan_for_people(desk: Desk):
    """The figures, what twice as much of each quota would bring, and what was assumed, on 80 columns."""
    rows = "".join(f"archive,{number}.mp4,,,{10**9}\n" for number in range(3_000))
    assert desk.run("plan", desk.file("films.csv", rows), "--name", "films", "--budget-usd", "600") == 0
    lines = desk.out.splitlines()
    assert lines[:5] == [
        "plan for backfill films; nothing was started",
        "  videos  3,000",
        "  length  1,000.0 hours of video",
        "  cost    $6,000.00",
        "  budget  $600.00 reaches 300 of 3,000 videos, in 2 h 38 min",
    ]
    assert lines[5:7] == [
        "  time    1 d 2 h",
        "  binds   the budget; beyond it concurrent jobs of lane main, 100% in use",
    ]
    assert "  concurrent jobs  20 -> 40  1 d 2 h -> 13 h 8 min" in lines
    assert max(map(len, lines)) <= 80


def test_manifest_without_sizes_is_taken_at_the_mean(desk: Desk):
    """What is unknown is told, and taken to be like the others; what is no video is told, and costs nothing."""
    rows = f"archive,a.mp4,,,{2 * 10**9}\narchive,b.mp4\narchive,notes.txt\narchive,c.mp4,,,,90000\n"
    plan = planned(desk, desk.file("films.csv", rows))
    assert (plan["videos"], plan["skipped"]) == (3, 1)
    assert plan["minutes"] == pytest.approx(40 + 40 + 1.5)
    told = "\n".join(plan["assumptions"])
    assert "1 video with a known duration: taken as it is" in told
    assert "1 video of unknown size and duration: taken to be as large as the others on average" in told
    assert "1 object will be skipped: no video by name, empty, or over 10 GB" in told


def test_bad_rows_are_a_finding(desk: Desk):
    """As for `enqueue`: they are told and passed over, and the exit code says so."""
    assert planned(desk, desk.file("films.csv", "archive,a.mp4\nonly-a-bucket\n"), code=1)["videos"] == 1
    assert "bad row skipped" in desk.out


def test_lanes_are_those_of_registration(desk: Desk, aws: SmallAws, value: Value):
    """Each lane is told as many videos as it gets when the same source is registered; the slower region decides."""
    desk.sections["lanes.second"] = aws.lane(name="second", concurrent_jobs=5)
    desk.sections["lanes.far"] = aws.lane("eu-west-1", name="far", concurrent_jobs=1)
    aws.regions["far-away"] = "eu-west-1"
    rows = "".join(f"{'far-away' if n % 3 == 0 else 'archive'},{n}.mp4,,,{10**8}\n" for n in range(300))
    films = desk.file("films.csv", rows)
    plan = planned(desk, films)
    assert plan["lane"] == "far"
    assert desk.run("enqueue", films) == 0
    lanes = {lane["name"]: lane["videos"] for lane in plan["lanes"]}
    for name, videos in lanes.items():
        sql = "select count(*) from video v join lane l on l.id = v.lane_id where l.name = $1"
        assert videos == value(sql, name)
    assert desk.run("plan", films) == 0
    assert [line.split()[0] for line in desk.out.splitlines() if "east-1" in line or "west-1" in line] == [*lanes]


def test_registered_backfill_is_told_as_it_is(desk: Desk, value: Value):
    """Paused, with its own budget and price; another, more urgent one goes first. Its sources again are told as new."""
    assert desk.run("enqueue", "s3://archive/", "--name", "films", "--budget-usd", "7") == 0
    assert desk.run("pause", "films") == 0
    assert desk.run("enqueue", "s3://archive/", "--name", "urgent", "--priority", "5") == 0
    plan = planned(desk, "--name", "films")
    assert (plan["videos"], plan["budget_usd"], plan["lanes"][0]["ahead"]) == (3, 7.0, 3)
    told = "\n".join(plan["assumptions"])
    assert "backfill films, which is paused now, goes on" in told
    assert "3 videos of other backfills come first or take turns" in told
    again = planned(desk, "s3://archive/", "--name", "films", "--priority", "9")
    assert again["lanes"][0]["ahead"] == 0
    assert "backfill films is registered already, 0 of 3 videos final" in "\n".join(again["assumptions"])


def test_jobs_that_run_already(desk: Desk, portal: BlockingPortal, database_url: str):
    """They are left of their backfill, hold slots for another one, and are among what their own sources name."""

    async def start_one() -> None:
        async with open_database(database_url, deployment="default", may_migrate=False, pool_size=2) as database:
            steps = Steps(database)
            await steps.running(await steps.own(), await steps.backfill("films"), ["a.mp4"])

    portal.call(start_one)
    for arguments, expected in (
        (["--name", "films"], (1, 1)),
        (["s3://archive/", "--name", "films"], (3, 0)),
        (["s3://archive/", "--name", "others"], (3, 1)),
    ):
        plan = planned(desk, *arguments)
        assert (plan["videos"], plan["lanes"][0]["in_flight"]) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "plan needs sources, or the --name of a registered backfill"),
        (["--name", "nothing"], "there is no backfill 'nothing'"),
        (["s3://unknown-bucket/"], "bucket unknown-bucket does not exist; check its name"),
        (["s3://archive/nothing/"], "s3://archive/nothing/ names no video; check its spelling"),
        (["--nmae", "x"], "there is no option --nmae"),
    ],
)
def test_what_cannot_be_planned_is_told(desk: Desk, arguments: list[str], said: str):
    """One sentence, exit code 2."""
    assert desk.run("plan", *arguments) == 2
    assert said in desk.complaint


def test_rest_of_a_backfill_needs_the_database(desk: Desk):
    """Without sources there is nothing to look at but the database."""
    desk.sections["database"]["url"] = NOWHERE
    assert desk.run("plan", "--name", "films") == 2
    assert desk.complaint.endswith("; check database.url")

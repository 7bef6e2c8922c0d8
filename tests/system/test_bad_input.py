"""What operators see when something is wrong: one sentence, the right exit code, and nothing half done."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.system.desk import Desk
from tests.system.site import Sections, Site, finished, until
from tests.system.small_aws import ACCOUNT, SmallAws

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A sound config file for a database that is not there."""
    sections: Sections = {
        "database": {"url": NOWHERE, "data_dir": str(tmp_path / "data")},
        "worker": {"http_listen": ""},
        "lanes.main": SmallAws().lane(
            queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/moderation", endpoint_url=""
        ),
    }
    return Desk(tmp_path, capsys, sections)


@pytest.fixture
def open_desk(desk: Desk, aws: SmallAws, database_url: str) -> Desk:
    """A sound config file with a database and an AWS that answer."""
    desk.sections["database"]["url"] = database_url
    desk.sections["lanes.main"] = aws.lane()
    return desk


@pytest.fixture
def registered(portal: BlockingPortal, database_url: str) -> Callable[[], tuple[int, int]]:
    """(backfills, videos) in the database."""

    async def look() -> tuple[int, int]:
        connection = await asyncpg.connect(database_url)
        row = await connection.fetchrow("select (select count(*) from backfill), (select count(*) from video)")
        await connection.close()
        return row[0], row[1]

    return lambda: portal.call(look)


@pytest.fixture
def execute(portal: BlockingPortal) -> Callable[[str, str], None]:
    """Change a database behind the program's back."""

    async def change(url: str, sql: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql)
        await connection.close()

    return lambda url, sql: portal.call(change, url, sql)


# The command line


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["backfill", "s3://archive/"], "backfill needs --config FILE."),
        (["backfill", "s3://archive/", "--config"], "backfill needs --config FILE."),
        (["enqueue", "--config", "x.toml"], "enqueue needs SOURCES."),
        (["backfil", "s3://archive/"], 'Unknown command "backfil". Did you mean "backfill"?'),
        (["status", "--jsn", "--config", "x.toml"], "Unknown option: --jsn. Did you mean --json?"),
        (["enqueue", "a.csv", "--dryrun", "--config", "x.toml"], "there is no option --dryrun"),
        (["status", "all", "--config", "x.toml"], "'all' means nothing here."),
        (["enqueue", "a.csv", "--priority", "high", "--config", "x.toml"], 'unable to convert "high" into int'),
        (["enqueue", "a.csv", "--priority", "9999999999", "--config", "x.toml"], "Must be <= 1000000."),
        (["enqueue", "a.csv", "--budget-usd", "-1", "--config", "x.toml"], "Must be >= 0."),
        (["enqueue", "a.csv", "--budget-usd", "nan", "--config", "x.toml"], 'Invalid value "nan" for --budget-usd.'),
        (["enqueue", "a.csv", "--name", "a\nb", "--config", "x.toml"], "none of them a control character"),
        (["pause", "--config", "x.toml"], "pause needs NAME."),
        (["config", "chek"], 'Unknown command "chek". Did you mean "check"?'),
    ],
)
def test_wrong_command_line_is_told(desk: Desk, typed: list[str], said: str):
    """A command line that means nothing ends with 2 and says which word is wrong or missing."""
    assert desk.run_as_typed(*typed) == 2
    assert said in desk.err
    assert desk.err.startswith("modworker: ")


# The configuration


def test_missing_config_file_is_told(desk: Desk):
    """A config file that is not there is named."""
    assert desk.run_as_typed("status", "--config", str(desk.config_file)) == 2
    assert desk.mistakes() == ["file: cannot be read (No such file or directory); name a config file with --config"]


QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/moderation"


@pytest.mark.parametrize(
    ("section", "values", "mistake"),
    [
        ("worker", {"lease_secnds": 5}, "worker.lease_secnds: means nothing; did you mean lease_seconds?"),
        ("lanes.main", {"sns_topic_arn": "arn:aws:sns:here"}, 'lanes.main.sns_topic_arn: is "arn:aws:sns:here"; write'),
        (
            "lanes.main",
            {"queue_url": QUEUE.replace("us-east-1", "eu-west-1")},
            "lanes.main.queue_url: is in eu-west-1, the lane in us-east-1; write one of the lane's region",
        ),
        (
            "lanes.other",
            SmallAws().lane(name="other", queue_url=QUEUE, endpoint_url=""),
            "lanes.other.queue_url: is the queue of lane main too; write a queue of the lane's own",
        ),
    ],
)
def test_mistakes_of_the_config_file_are_told(desk: Desk, section: str, values: dict[str, Any], mistake: str):
    """A mistake is told with its path and what to write; `config check` calls it a finding, other commands refuse."""
    desk.sections.setdefault(section, {}).update(values)
    assert desk.run("config", "check") == 1
    assert [line[: len(mistake)] for line in desk.mistakes()] == [mistake]
    assert desk.run("status") == 2
    assert len(desk.mistakes()) == 1


def test_unknown_variable_of_the_environment_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """A variable that sets nothing is told by its own name."""
    monkeypatch.setenv("MODWORKER_WORKER__LEASE", "5")
    assert desk.run("status") == 2
    assert desk.mistakes() == ["MODWORKER_WORKER__LEASE: means nothing; did you mean MODWORKER_WORKER__LEASE_SECONDS?"]


def test_unknown_lane_is_told_with_the_known_ones(desk: Desk):
    """`--lanes` with a lane that the config file lacks is refused before the database is asked."""
    assert desk.run("run", "--lanes", "main,mian") == 2
    assert desk.complaint == "--lanes mian: the config file has no such lane; it has main"


# The database


def test_unreachable_database_is_told_without_its_password(desk: Desk):
    """A database that does not answer is named, its password is not."""
    desk.sections["database"]["url"] = NOWHERE.replace("nobody", "nobody:hunter2")
    assert desk.run("enqueue", "s3://archive/") == 2
    assert desk.complaint.startswith("the database at postgresql://nobody:***@127.0.0.1:1/nothing cannot be reached: ")
    assert desk.complaint.endswith("; check database.url")
    assert "hunter2" not in desk.err


def test_wrong_name_of_the_database_is_told(open_desk: Desk, database_url: str):
    """A database that the server does not have is told in the server's words."""
    open_desk.sections["database"]["url"] = urlsplit(database_url)._replace(path="/nothing").geturl()
    assert open_desk.run("status") == 2
    assert 'cannot be reached: database "nothing" does not exist; check database.url' in open_desk.complaint


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "insert into schema_migration (version, sha256) values ('9999_of_tomorrow', '')",
            "it has migration 9999_of_tomorrow, and needs a program that knows migration 9999 (this one knows",
        ),
        (
            "update schema_migration set sha256 = '' where version like '0002%'",
            "was edited after it was applied to this database; restore the file",
        ),
        (
            "update deployment set name = 'other'",
            "the database belongs to deployment 'other', the config file says 'default'",
        ),
    ],
)
def test_unfit_database_is_refused(
    open_desk: Desk,
    database_url: str,
    execute: Callable[[str, str], None],
    registered: Callable[[], tuple[int, int]],
    sql: str,
    said: str,
):
    """A database that is newer, altered or another deployment's is refused before anything is registered."""
    execute(database_url, sql)
    assert open_desk.run("enqueue", "s3://archive/") == 2
    assert said in open_desk.complaint
    assert registered() == (0, 0)


def test_database_without_migrations_is_refused_unless_allowed(open_desk: Desk, empty_database_url: str):
    """Missing migrations are counted and the command that applies them is named; with it, the next command works."""
    open_desk.sections["database"]["url"] = empty_database_url
    assert open_desk.run("status") == 2
    assert (
        "of this program's migrations; run `modworker migrate`, or set database.migrate = true" in open_desk.complaint
    )
    assert open_desk.run("migrate") == 0
    assert open_desk.run("status") == 0


def test_data_folder_that_is_a_file_is_told(desk: Desk):
    """A folder that cannot be made is named."""
    desk.sections["database"] = {"url": "embedded", "data_dir": desk.file("data", "")}
    assert desk.run("status") == 2
    assert str(desk.folder / "data") in desk.complaint


# The sources


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "a source is empty; write s3://bucket/prefix"),
        ("nothing.csv", "nothing.csv: there is no such file or folder; name a manifest"),
        ("https://example.com/x.csv", "https://example.com/x.csv: a source is s3://bucket/prefix"),
        ("inventory:s3://unknown-bucket/x/manifest.json", "bucket unknown-bucket does not exist; check its name"),
        ("s3://unknown-bucket/", "bucket unknown-bucket does not exist; check its name"),
        ("s3://far-away/", "bucket far-away is in eu-west-1, where no lane is configured; add a lane for eu-west-1"),
        ("s3://archive/nothing/", "s3://archive/nothing/ names no video; check its spelling"),
    ],
)
def test_source_that_cannot_be_taken_registers_nothing(
    open_desk: Desk, aws: SmallAws, registered: Callable[[], tuple[int, int]], source: str, said: str
):
    """A source without a video, or that no lane can take, is refused, and a good one beside it is not registered."""
    aws.regions["far-away"] = "eu-west-1"
    assert open_desk.run("enqueue", "s3://archive/", source) == 2
    assert said in open_desk.complaint
    assert registered() == (0, 0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", "", "empty.csv names no video; it is empty"),
        ("header.csv", "bucket,key\n", "header.csv names no video; it is empty"),
        ("bad.jsonl", '{"bucket": "archive"}\n', "bad.jsonl names no video: line 1 is no object's description"),
        ("garbage.csv", bytes(range(256)) * 500, "garbage.csv names no video: line 1 "),
        ("long.jsonl", b"x" * 200_000, "long.jsonl names no video: line 1 is longer than 65536 bytes"),
        ("videos.txt", "archive,a.mp4\n", "videos.txt: a manifest's name ends in .csv or .jsonl; rename it"),
        ("far.csv", "archive,a.mp4\nfar-away,b.mp4\n", "bucket far-away is in eu-west-1, where no lane is configured"),
    ],
)
def test_manifest_that_cannot_be_taken_registers_nothing(
    open_desk: Desk,
    aws: SmallAws,
    registered: Callable[[], tuple[int, int]],
    name: str,
    content: str | bytes,
    said: str,
):
    """A manifest that names no video, or a bucket that no lane can take, is refused as a whole."""
    aws.regions["far-away"] = "eu-west-1"
    assert open_desk.run("enqueue", open_desk.file(name, content)) == 2
    assert said in open_desk.complaint
    assert registered() == (0, 0)


def test_folder_needs_the_local_service(open_desk: Desk, registered: Callable[[], tuple[int, int]]):
    """A folder of videos is refused where no lane is local: AWS reads S3 only."""
    assert open_desk.run("enqueue", str(open_desk.folder)) == 2
    assert "only the local service can read a folder; upload it and name s3://bucket/prefix" in open_desk.complaint
    assert registered() == (0, 0)


def test_lane_without_permission_to_list_is_told(
    open_desk: Desk, aws: SmallAws, registered: Callable[[], tuple[int, int]]
):
    """A bucket that the lane may not list names the permission."""
    aws.denied.add("ListObjectsV2")
    assert open_desk.run("enqueue", "s3://archive/") == 2
    assert "s3://archive/ cannot be listed (AccessDenied: Access Denied); allow the lane s3:ListBucket" in open_desk.err
    assert registered() == (0, 0)


def test_endpoint_that_does_not_answer_is_told(open_desk: Desk, registered: Callable[[], tuple[int, int]]):
    """An S3 that cannot be reached names the lane and what to check."""
    open_desk.sections["lanes.main"]["endpoint_url"] = "http://127.0.0.1:1"
    assert open_desk.run("enqueue", "s3://archive/") == 2
    assert "bucket archive cannot be looked up over lane main" in open_desk.complaint
    assert open_desk.complaint.endswith("check the lane's credentials and endpoint")
    assert registered() == (0, 0)


def test_dry_run_registers_nothing(open_desk: Desk, registered: Callable[[], tuple[int, int]]):
    """`--dry-run` counts the videos and leaves the database as it was."""
    assert open_desk.run("enqueue", "s3://archive/", "--dry-run") == 0
    assert open_desk.out == "backfill archive: the sources name 3 videos; nothing is registered\n"
    assert registered() == (0, 0)


# What is there already


def test_lane_registered_in_another_region_is_refused(open_desk: Desk, aws: SmallAws):
    """A lane's name keeps its region for good: its jobs and tokens live there."""
    assert open_desk.run("enqueue", "s3://archive/") == 0
    open_desk.sections["lanes.main"] = aws.lane("us-west-2")
    assert open_desk.run("enqueue", "s3://archive/") == 2
    said = "lane main is registered in us-east-1, the config file says us-west-2; use another lane name"
    assert open_desk.complaint == said


def test_wrong_account_is_refused(open_desk: Desk, database_url: str, execute: Callable[[str, str], None]):
    """A lane's name keeps its account for good: replaying its jobs in another one would pay again."""
    assert open_desk.run("enqueue", "s3://archive/") == 0
    execute(database_url, "update lane set account_id = '999999999999'")
    assert open_desk.run("run", "--until-empty") == 2
    assert f"belongs to account 999999999999, the credentials to {ACCOUNT}" in open_desk.complaint


def test_same_name_with_other_settings_is_refused(open_desk: Desk, registered: Callable[[], tuple[int, int]]):
    """Settings that give other results need another name; nothing is added to the old one."""
    assert open_desk.run("enqueue", "s3://archive/a", "--name", "films") == 0
    open_desk.sections["moderation"] = {"min_confidence": 80.0}
    assert open_desk.run("enqueue", "s3://archive/", "--name", "films") == 2
    assert "backfill films was registered with min_confidence = 50.0, the config file says 80.0" in open_desk.complaint
    assert registered() == (1, 1)


def test_names_that_nobody_registered_are_told(open_desk: Desk):
    """A video or backfill that is not registered is told, with the way to find those that are."""
    assert open_desk.run("labels", "archive/a.mp4") == 2
    assert open_desk.complaint == "archive/a.mp4: no backfill has registered this video; check its bucket and key"
    assert open_desk.run("labels", "archive") == 2
    assert open_desk.complaint == "archive: name a video as BUCKET/KEY"
    for command in (["verify", "--name", "films"], ["pause", "films"], ["resume", "films"]):
        assert open_desk.run(*command) == 2
        listing = f"`modworker status --config {open_desk.config_file}` lists them"
        assert open_desk.complaint == f"there is no backfill 'films'; {listing}"


# Whole processes


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_rows_that_are_bad_are_told_and_the_others_taken(
    site: Site, aws: SmallAws, registered: Callable[[], tuple[int, int]]
):
    """Bad rows are told with their line numbers and counted, the good ones registered, and the exit code is 1."""
    lines = [
        b"bucket,key,size_bytes",
        b"archive,a.mp4,1000",
        b"archive",
        b"archive,b.mp4,many",
        b"a b,c.mp4",
        b"archive,\x00.mp4",
        b"archive,\xff.mp4",
        b'archive,"d.mp4',
        b"archive," + b"k" * 100_000,
        b"archive," + b"k" * 1_025,
        b"archive,e.mp4",
    ]
    manifest = site.folder / "films.csv"
    manifest.write_bytes(b"\r\n".join(lines))
    site.sections["lanes.main"] = aws.lane()
    credentials = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = site.run("enqueue", str(manifest), environment=credentials)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "backfill " + str(manifest).strip("/").replace("/", "-") + (
        ": 2 videos registered, 0 known already, 8 bad rows skipped\n"
    )
    told = {line["line"]: line for line in map(json.loads, done.stderr.splitlines()) if "line" in line}
    assert list(told) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert {line["source"] for line in told.values()} == {str(manifest)}
    assert all(line["reason"] for line in told.values())
    assert "'a b' is no name of a bucket" in told[5]["reason"]
    assert "Traceback" not in done.stderr
    assert registered() == (1, 2)


def test_empty_standard_input_registers_nothing(site: Site, aws: SmallAws, registered: Callable[[], tuple[int, int]]):
    """`-` with nothing on standard input is a source without a video."""
    site.sections["lanes.main"] = aws.lane()
    done = site.run("enqueue", "-")
    assert done.returncode == 2
    assert done.stderr == "modworker: standard input names no video; it is empty\n"
    assert registered() == (0, 0)


def test_port_of_the_local_service_in_use_is_told(
    site: Site, taken_port: int, registered: Callable[[], tuple[int, int]]
):
    """Where the local service cannot listen, the command ends with 2 and names the setting."""
    site.configure(local={"listen": f"127.0.0.1:{taken_port}"})
    done = site.run("backfill", "s3://synthetic-archive/")
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{taken_port} (Address already in use); set local.listen" in done.stderr
    assert "Traceback" not in done.stderr
    assert registered() == (0, 0)


def test_port_of_the_pages_in_use_is_no_reason_to_stop(site: Site, taken_port: int):
    """Where the port of the pages is in use another one is taken, with a warning, and the work goes on."""
    site.configure(local={"videos": 3}, worker={"http_listen": f"127.0.0.1:{taken_port}"})
    site.service()
    worker = site.start("run")
    assert worker.stderr
    until(lambda: "port in use, took another one" in (worker.stderr.readline() if worker.stderr else ""))
    worker.terminate()
    assert finished(worker).returncode == 0


def test_empty_folder_registers_nothing(site: Site, registered: Callable[[], tuple[int, int]]):
    """A folder without a file is a source without a video."""
    folder = site.folder / "films"
    folder.mkdir()
    done = site.run("backfill", str(folder))
    assert done.returncode == 2
    assert f"modworker: folder {folder} names no video" in done.stderr
    assert registered() == (0, 0)

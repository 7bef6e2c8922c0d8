"""`export` as operators use it: whole files or none, of one moment, in little memory; else one sentence."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal
from pyarrow import parquet as pq

from benchmarks.stored import LABELS_A_JOB, store
from tests.postgres import connected
from tests.system.desk import Desk
from tests.system.processes import WorkerProcess
from tests.system.site import ROOT, Site, finished, jobs_faster, until
from tests.system.truth import labels_in, rows_in

ARCHIVE = "s3://synthetic-archive/"
LABELS = 20_000
GROWTH_BYTES = 15_000_000  # far less than so many rows take
MEASURED = """
import resource, sys
from worker.cli import exit_code

def peak_bytes(name):
    for ending in ("jsonl", "csv", "parquet"):
        file = f"{sys.argv[2]}/{name}.{ending}"
        assert exit_code(["export", "--name", name, "--to", file, "--config", sys.argv[1]]) == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak_bytes("few")
print(peak_bytes("many") - before)
"""
"""Writes few labels in each format, then many, and prints by how much the second raised the peak of memory."""
MAIN = "from worker.cli import main; main()"
WITHOUT_PYARROW = f"import sys; sys.modules['pyarrow'] = None; {MAIN}"
WITH_LITTLE_ROOM = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); {MAIN}"
LANE = """
insert into label (name, parent_name, taxonomy_level) select 'label ' || n, '', 1 from generate_series(1, 12) n;
insert into lane (name, region) values ('main', 'us-east-1');
insert into channel (lane_id, topic_arn, role_arn) select id, 't', 'r' from lane;
"""
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def fill(url: str, labels: int) -> None:
    """Store a backfill named `stored`."""
    async with connected(url) as connection:
        await connection.execute(LANE)
        await store(connection, jobs=labels // LABELS_A_JOB, labels=LABELS_A_JOB)


@pytest.fixture
def stored(portal: BlockingPortal, site: Site) -> Site:
    """A site whose database has labels."""
    portal.call(fill, site.database_url, LABELS)
    site.configure()
    return site


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: Site) -> Desk:
    """A command line over a database with labels."""
    return Desk(tmp_path, capsys, stored.sections)


@asynccontextmanager
async def held_up(site: Site, file: Path) -> AsyncIterator[tuple[WorkerProcess, asyncpg.Connection]]:
    """An export that has begun its file and cannot read a label."""
    async with (
        connected(site.database_url) as looking,
        connected(site.database_url) as locking,
        locking.transaction(),
    ):
        await locking.execute("lock table detection in access exclusive mode")
        process = site.start("export", "--name", "stored", "--to", str(file))
        while not await looking.fetchval(WAITING):
            assert process.poll() is None
        assert list(file.parent.glob(".modworker-*"))
        yield process, looking


def files_in(folder: Path) -> set[str]:
    """The names of the files that an export may have left."""
    return {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".toml"}


def jobs_in(path: Path) -> Counter[str]:
    """How many rows each job has in a file of JSON Lines."""
    return Counter(json.loads(line)["aws_job_id"] for line in path.read_text().splitlines())


async def test_every_export_beside_a_worker_has_all_labels_of_a_video_or_none(site: Site, tmp_path: Path):
    """Exports are made while a backfill goes on; the last one has what a reader of the view has, in each format."""
    lane = site.local_lane("us-east-1", start_per_second=10)
    site.configure(local={"videos": 100} | jobs_faster(600), lanes__main=lane)
    worker = site.start("backfill", ARCHIVE, "--name", "films")
    found = []
    until(lambda: "registered" in worker.stdout.readline(), within_seconds=60)
    while worker.poll() is None or not found:
        path = tmp_path / f"{len(found)}.jsonl"
        done = site.run("export", "--name", "films", "--to", str(path))
        assert done.returncode == 0, done.stderr
        found.append(jobs_in(path))
    assert finished(worker).returncode in (0, 1)
    rows = await rows_in(site.database_url, "select aws_job_id, labels from video_status where state = 'done'")
    true = {row["aws_job_id"]: row["labels"] for row in rows}
    for jobs in found:
        assert jobs == {job: true[job] for job in jobs}
    print("labels in turn:", [sum(jobs.values()) for jobs in found])
    assert any(0 < len(jobs) < len(true) for jobs in found)
    await _same_in_each_format(site, tmp_path)


async def _same_in_each_format(site: Site, folder: Path) -> None:
    paths = {name: folder / f"films.{name}" for name in ("parquet", "csv", "jsonl")}
    for path in paths.values():
        assert site.run("export", "--name", "films", "--to", str(path)).returncode == 0
    rows = [json.loads(line) for line in paths["jsonl"].read_text().splitlines()]
    assert pq.read_table(paths["parquet"]).to_pylist() == rows
    with paths["csv"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["key"], float(line["confidence"]), json.loads(line["content_types"])) for line in lines] == [
        (row["key"], row["confidence"], row["content_types"]) for row in rows
    ]
    columns = ("aws_job_id", "timestamp_ms", "name", "parent_name", "taxonomy_level", "confidence")
    assert Counter(tuple(row[name] for name in columns) for row in rows) == await labels_in(site.database_url)


def test_file_appears_when_it_is_whole(desk: Desk, tmp_path: Path):
    """It has every label, beside nothing else, and the command says when the next export is to begin."""
    assert desk.run("export", "--name", "stored", "--to", str(tmp_path / "a.jsonl")) == 0
    assert desk.out.startswith(f"backfill stored: {LABELS:,} labels written to {tmp_path / 'a.jsonl'}; ")
    _, _, moment = desk.out.strip().rpartition(" --since ")
    assert files_in(tmp_path) == {"a.jsonl"}
    assert jobs_in(tmp_path / "a.jsonl").total() == LABELS
    assert desk.run("export", "--name", "stored", "--to", str(tmp_path / "b.csv"), "--since", moment) == 0
    assert " 0 labels written to " in desk.out  # what is stored was settled a day ago
    assert desk.run("export", "--name", "stored", "--name", "stored", "--to", str(tmp_path / "c.csv")) == 0
    assert desk.out.startswith(f"backfill stored: {LABELS:,} labels")


def test_file_that_is_there_is_replaced_on_purpose_only(desk: Desk, tmp_path: Path):
    """Without --force nothing is touched; with it the file is another one, and a link goes on to lead to it."""
    target, link = tmp_path / "archive.csv", tmp_path / "newest.csv"
    target.write_text("mine")
    link.symlink_to(target)
    for path in (target, link):
        assert desk.run("export", "--name", "stored", "--to", str(path)) == 2
        assert desk.complaint == f"{path} is there already; name another file, or replace it with --force"
    assert target.read_text() == "mine"
    assert desk.run("export", "--name", "stored", "--to", str(link), "--force") == 0
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == LABELS + 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--name", "films", "--to", "a.csv"], "there is no backfill 'films'; `modworker status --config"),
        (["--name", "stored", "--name", "films", "--to", "a.csv"], "there is no backfill 'films'; `modworker status"),
        (["--name", "stored", "--to", "a.xlsx"], "a.xlsx: a name ends in .parquet, .csv or .jsonl"),
        (["--name", "stored", "--to", "."], ". is no regular file; name one, or - for standard output"),
        (["--name", "stored", "--to", "nowhere/a.csv"], "nowhere/a.csv cannot be written (No such file or directory)"),
        (["--name", "stored", "--to", "-", "--format", "parquet"], "Parquet is no text for standard output"),
        (["--name", "stored", "--to", "a.csv", "--since", "yesterday"], "Write a time as ISO 8601 has it"),
        (["--name", "stored", "--to", "a", "--format", "xlsx"], 'Choose from: "parquet", "csv", "jsonl".'),
        (["--name", "stored", "--to", "--force"], "A file of that name is ./--force."),
        (["--empty-name", "--to", "a.csv"], "export needs --name."),
        (["--name", "stored"], "export needs --to FILE."),
        (["--to", "a.csv"], "export needs --name."),
    ],
)
def test_wrong_export_is_told(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], said: str):
    """One sentence, exit code 2, and no file."""
    monkeypatch.chdir(tmp_path)
    assert desk.run("export", *typed) == 2
    assert said in desk.err
    assert files_in(tmp_path) == set()


def test_format_may_be_said(desk: Desk, tmp_path: Path):
    """--format stands for what the name does not tell."""
    assert desk.run("export", "--name", "stored", "--to", str(tmp_path / "labels"), "--format", "parquet") == 0
    assert pq.read_metadata(tmp_path / "labels").num_rows == LABELS


async def test_stopped_export_leaves_nothing(stored: Site, tmp_path: Path):
    """A signal ends it with 3 while it waits for the database."""
    async with held_up(stored, tmp_path / "a.parquet") as (process, _):
        process.terminate()
        done = finished(process)
    assert done.returncode == 3
    assert "the export of backfill stored was told to stop; nothing is kept of it" in done.stderr
    assert files_in(tmp_path) == set()


async def test_database_that_goes_away_ends_an_export(stored: Site, tmp_path: Path):
    """A snapshot cannot be had again: one sentence, and no file."""
    async with held_up(stored, tmp_path / "a.csv") as (process, connection):
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
        done = finished(process)
    assert done.returncode == 2
    assert "the database went away while it was read (" in done.stderr
    assert "give the command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == set()


def test_labels_are_written_to_standard_output(stored: Site):
    """`-` is JSON Lines, or CSV; what else is to be said goes to standard error."""
    done = stored.run("export", "--name", "stored", "--to", "-")
    assert done.returncode == 0, done.stderr
    assert sum("aws_job_id" in json.loads(line) for line in done.stdout.splitlines()) == LABELS
    assert f"{LABELS:,} labels written to standard output" in done.stderr
    done = stored.run("export", "--name", "stored", "--to", "-", "--format", "csv")
    assert len(done.stdout.splitlines()) == LABELS + 1


def test_export_that_nobody_reads_can_be_stopped(stored: Site):
    """A pipe that is full holds up no signal."""
    process = stored.start("export", "--name", "stored", "--to", "-")
    assert process.stdout.read(1) == "{"  # much more of it waits
    process.terminate()
    assert process.wait(timeout=60) == 3


def test_reader_that_leaves_is_told(stored: Site):
    """As `… | head -1` does."""
    process = stored.start("export", "--name", "stored", "--to", "-")
    assert process.stdout.read(1) == "{"
    process.stdout.close()
    assert process.wait(timeout=60) == 2
    assert "standard output cannot be written (Broken pipe)" in process.stderr.read()


def _program(site: Site, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments, "--config", str(site.config_file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_parquet_without_pyarrow_is_told(stored: Site, tmp_path: Path):
    """What to install; the other formats need nothing."""
    export = ("export", "--name", "stored", "--to")
    done = _program(stored, WITHOUT_PYARROW, *export, str(tmp_path / "a.parquet"))
    assert done.returncode == 2
    assert done.stderr == "modworker: Parquet and ORC need pyarrow: install modworker[arrow], or take CSV\n"
    assert _program(stored, WITHOUT_PYARROW, *export, str(tmp_path / "a.csv")).returncode == 0
    assert files_in(tmp_path) == {"a.csv"}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_file_that_finds_no_room_leaves_nothing(stored: Site, tmp_path: Path, ending: str):
    """The system's reason, and the file's name."""
    path = tmp_path / f"a.{ending}"
    done = _program(stored, WITH_LITTLE_ROOM, "export", "--name", "stored", "--to", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"modworker: {path} cannot be written (File too large)")
    assert files_in(tmp_path) == set()


async def test_many_labels_take_little_memory(site: Site, tmp_path: Path):
    """The peak of memory hardly rises with the number of labels."""
    few, many = 140_000, 280_000  # more than a group of Parquet has
    await fill(site.database_url, few + many)
    site.configure()
    async with connected(site.database_url) as connection:
        await connection.execute("update backfill set name = 'many'")
        await connection.execute(
            "insert into backfill (name, min_confidence, edition, aggregate_by, price_usd_per_minute,"
            " expected_minutes_per_gb, budget_rule, max_generations)"
            " values ('few', 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2)"
        )
        await connection.execute("update video set backfill_id = 2 where id <= $1", few // LABELS_A_JOB)
    command = [sys.executable, "-c", MEASURED, str(site.config_file), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    growth_bytes = int(done.stdout.splitlines()[-1])
    print(f"peak grew by {growth_bytes:,} bytes")
    assert growth_bytes < GROWTH_BYTES
    assert (tmp_path / "many.csv").stat().st_size > GROWTH_BYTES

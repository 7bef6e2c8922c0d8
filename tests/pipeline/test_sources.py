"""From what an operator names to registered videos: which sources there are, and which lane gets which video."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.system.desk import Desk
from tests.system.site import ROOT
from tests.system.small_aws import SmallAws, small_aws
from worker.aws.manifests import BadRow
from worker.errors import UsageError
from worker.model import Object
from worker.pipeline.discover import BAD_ROWS_TOLD, CHUNK, Discovered, LaneChoice, choose_lane, discover, lanes_in
from worker.pipeline.filters import EVERYTHING, Choice, Filters
from worker.pipeline.sources import Prefix, Survey, default_name, manifest_of, parse_source, rows_of, survey

# What a source is


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://archive", "archive", ""),
        ("s3://archive/", "archive", ""),
        ("s3://archive/2024/a b,c", "archive", "2024/a b,c"),
        ("s3://archive//odd\nkey?x#y", "archive", "/odd\nkey?x#y"),
        ("s3://my.bucket-1/x", "my.bucket-1", "x"),
    ],
)
def test_s3_source_is_a_bucket_and_a_prefix(text: str, bucket: str, prefix: str):
    """What follows the bucket is the prefix as it stands: keys may hold anything."""
    assert parse_source(text) == Prefix(text, bucket, prefix)


def test_paths_are_manifests_or_folders(tmp_path: Path):
    """A file is a manifest, a folder comes back as its path."""
    manifest = tmp_path / "films.csv"
    manifest.touch()
    assert parse_source(str(manifest)) == manifest_of(str(manifest), manifest)
    assert parse_source(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("text", ["", "s3:/archive/", "s3://a", "gs://archive/", "https://archive/", "nothing.csv"])
def test_other_texts_are_no_source(text: str):
    """Each is refused with what a source is."""
    with pytest.raises(UsageError, match="s3://"):
        parse_source(text)


def test_pipes_and_devices_are_no_manifests(tmp_path: Path):
    """What has no end, or can be read once only, is refused before it is opened."""
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (str(tmp_path / "pipe.csv"), "/dev/zero", "/dev/stdin"):
        with pytest.raises(UsageError, match="is no regular file; write its lines into one"):
            parse_source(path)


def test_path_that_cannot_be_looked_at_is_told():
    """A name that no file can have is told in a sentence."""
    with pytest.raises(UsageError, match="cannot be read"):
        parse_source("x" * 5_000)
    with pytest.raises(UsageError, match="there is no such file"):
        parse_source("a\0b")


def test_manifest_that_changes_between_two_readings_is_refused(tmp_path: Path):
    """A manifest is read twice: one that grew, or was replaced, in between is not the one that was looked at."""
    path = tmp_path / "films.csv"
    path.write_text("archive,a.mp4\n")
    manifest = manifest_of("films.csv", path)
    assert [row.key for row in rows_of(manifest) if isinstance(row, Object)] == ["a.mp4"]
    rows = rows_of(manifest)
    next(rows)
    path.write_text("archive,a.mp4\nelsewhere,b.mp4\n")
    for reading in (rows, rows_of(manifest)):
        with pytest.raises(UsageError, match=r"films\.csv was changed while it was read; give the command again"):
            list(reading)


def test_name_is_made_from_the_sources():
    """The same sources give the same name, whatever their order of typing; long lists keep names apart by a digest."""
    assert default_name(["s3://archive/2024/"]) == "archive-2024"
    assert default_name(["-"]) == "backfill"
    assert default_name(["./films.csv"]) == default_name(["films.csv"]) == "films.csv"
    assert default_name(["s3://a/", "s3://b/"]) == "a-b"
    many = [f"s3://archive/{n}/" for n in range(100)]
    assert default_name(many) == default_name(many)
    assert default_name(many) != default_name(many[:-1])
    assert len(default_name(many)) <= 100


def test_survey_tells_the_buckets_and_the_first_bad_row(tmp_path: Path):
    """A manifest is read once before anything of it is registered; what the filters leave out does not count."""
    path = tmp_path / "films.csv"
    path.write_text("one-bucket,a\nother-bucket,b\nbad\none-bucket,c\nworse\n")
    found = survey(manifest_of("films.csv", path), EVERYTHING)
    assert list(found.examples) == ["one-bucket", "other-bucket"]
    assert isinstance(found.first_bad_row, BadRow)
    assert found.first_bad_row.line == 3
    assert not found.leaves_out
    found = survey(manifest_of("films.csv", path), Choice(Filters(match=["b", "c"])))
    assert found.examples == {"one-bucket": Object("one-bucket", "c"), "other-bucket": Object("other-bucket", "b")}
    assert found.leaves_out
    path.write_text("")
    assert survey(manifest_of("films.csv", path), EVERYTHING) == Survey({}, None, leaves_out=False)


# Which lane gets which video


def lanes(*concurrent_jobs: int) -> list[LaneChoice]:
    return [LaneChoice(n, f"lane-{n}", "us-east-1", jobs) for n, jobs in enumerate(concurrent_jobs)]


VIDEOS = [Object("archive", f"{n}.mp4") for n in range(10_000)]


def test_videos_are_spread_by_the_lanes_weights():
    """A lane with three times the slots gets three times the videos."""
    choices = lanes(20, 60, 20)
    chosen = Counter(choose_lane(video, choices).id for video in VIDEOS)
    for lane in choices:
        assert chosen[lane.id] / len(VIDEOS) == pytest.approx(lane.concurrent_jobs / 100, abs=0.02)


def test_choice_of_a_lane_is_stable():
    """It depends on names and weights alone: not on the lanes' order, on their ids, or on the run of the program."""
    choices = lanes(20, 60, 20)
    renumbered = [LaneChoice(lane.id + 100, lane.name, lane.region, lane.concurrent_jobs) for lane in choices[::-1]]
    names = [choose_lane(video, choices).name for video in VIDEOS]
    assert names == [choose_lane(video, renumbered).name for video in VIDEOS]
    assert [int(name[-1]) for name in names[:16]] == [2, 0, 1, 0, 1, 1, 2, 0, 1, 1, 1, 2, 1, 1, 1, 0]


def test_one_more_lane_moves_only_what_it_takes():
    """Videos that do not go to the new lane stay where they were."""
    before, after = lanes(20, 20), lanes(20, 20, 20)
    moved = [video for video in VIDEOS if choose_lane(video, before) != choose_lane(video, after)]
    assert {choose_lane(video, after).id for video in moved} == {2}
    assert len(moved) / len(VIDEOS) == pytest.approx(1 / 3, abs=0.02)


def test_lanes_of_a_bucket_are_those_of_its_region():
    """Rekognition reads buckets of its own region only; where S3 tells no region, every lane may try."""
    east, west = LaneChoice(1, "east", "us-east-1", 20), LaneChoice(2, "west", "us-west-2", 20)
    assert lanes_in("us-west-2", "archive", [east, west]) == [west]
    assert lanes_in(None, "archive", [east, west]) == [east, west]
    with pytest.raises(UsageError, match="bucket archive is in eu-west-1, where no lane is configured; add a lane"):
        lanes_in("eu-west-1", "archive", [east, west])


# Registration


LINE = '{{"bucket": "archive", "key": "{}.mp4"}}'
MANY = 120_000
GROWTH_BYTES = 12_000_000  # far less than so many rows take
MEASURED = """
import resource, sys
from worker.cli import exit_code

def peak_bytes(manifest):
    assert exit_code(["enqueue", manifest, "--name", "films", "--config", sys.argv[1]]) == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak_bytes(sys.argv[2])
print(peak_bytes(sys.argv[3]) - before)
"""
"""Registers a small manifest, then a large one, and prints by how much the second raised the peak of memory."""


Videos = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def aws(portal: BlockingPortal) -> Iterator[SmallAws]:
    with portal.wrap_async_context_manager(small_aws()) as aws:
        yield aws


@pytest.fixture
def desk(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    aws: SmallAws,
    database_url: str,
) -> Desk:
    """A config file with two lanes of one region, and an AWS and a database that answer."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    lanes = {f"lanes.{name}": aws.lane(name=name) for name in ("main", "other")}
    return Desk(tmp_path, capsys, {"database": {"url": database_url}, "worker": {"http_listen": ""}, **lanes})


@pytest.fixture
def videos(portal: BlockingPortal, database_url: str) -> Videos:
    """(lane, key) of the registered videos, in the order of their registration."""

    async def look() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(database_url)
        rows = await connection.fetch("select l.name, v.key from video v join lane l on l.id = v.lane_id order by v.id")
        await connection.close()
        return [(row[0], row[1]) for row in rows]

    return lambda: portal.call(look)


def test_source_is_registered_once(desk: Desk, videos: Videos):
    """The same source again adds nothing; a longer one adds what is new; duplicates within one are one video."""
    lines = [LINE.format(n) for n in range(50)]
    manifest = desk.file("films.jsonl", "\n".join(lines[:30] * 2))
    assert desk.run("enqueue", manifest, "--name", "films") == 0
    assert desk.out == "backfill films: 30 videos registered, 30 known already\n"
    assert desk.run("enqueue", manifest, "--name", "films") == 0
    assert desk.out == "backfill films: 0 videos registered, 60 known already\n"
    desk.file("films.jsonl", "\n".join(lines))
    assert desk.run("enqueue", manifest, "--name", "films") == 0
    assert desk.out == "backfill films: 20 videos registered, 30 known already\n"
    assert [key for _, key in videos()] == [f"{n}.mp4" for n in range(50)]
    assert {lane for lane, _ in videos()} == {"main", "other"}


def test_versions_of_an_object_are_videos_of_their_own(desk: Desk, videos: Videos):
    """Two versions of a key are two videos, and so is the key without a version."""
    manifest = desk.file("films.csv", "archive,a.mp4,v1\narchive,a.mp4,v2\narchive,a.mp4\narchive,a.mp4,v1\n")
    assert desk.run("enqueue", manifest) == 0
    assert len(videos()) == 3


def test_several_sources_are_one_backfill(desk: Desk, videos: Videos):
    """A prefix and a manifest that name the same object name one video."""
    manifest = desk.file("films.csv", "archive,b.mp4\narchive,z.mp4\n")
    assert desk.run("enqueue", "s3://archive/", manifest, "--name", "films") == 0
    assert [key for _, key in videos()] == ["a.mp4", "b.mp4", "c.mp4", "z.mp4"]


@pytest.mark.parametrize("is_pipe", [True, False])
def test_standard_input_is_read_to_its_end(
    desk: Desk, videos: Videos, monkeypatch: pytest.MonkeyPatch, *, is_pipe: bool
):
    """`-` is JSON Lines from a pipe or a file; bad lines are told and the others taken."""
    content = "\n".join([*(LINE.format(n) for n in range(1_000)), "nothing"])
    path = desk.file("input", content)
    with ExitStack() as stack:
        if is_pipe:
            writer = stack.enter_context(subprocess.Popen(["cat", path], stdout=subprocess.PIPE, text=True))
            assert writer.stdout
            monkeypatch.setattr(sys, "stdin", writer.stdout)
        else:
            monkeypatch.setattr(sys, "stdin", stack.enter_context(Path(path).open()))
        assert desk.run("enqueue", "-") == 1
    assert desk.out.endswith("backfill backfill: 1,000 videos registered, 0 known already, 1 bad row skipped\n")
    assert len(videos()) == 1_000


async def test_bucket_that_nobody_has_looked_at_is_refused():
    """A bucket that appears while a source is read ends the registration in a sentence."""

    async def objects() -> AsyncIterator[Object]:
        yield Object("archive", "a.mp4")
        yield Object("elsewhere", "b.mp4")

    async def register(_: object) -> int:
        raise AssertionError("nothing of it may be registered")

    refusal = "bucket elsewhere was added to the source while it was read"
    with pytest.RaisesGroup(pytest.RaisesExc(UsageError, match=refusal)):
        await discover(objects(), register, {"archive": lanes(20)}, Discovered())


async def test_objects_are_gathered_while_the_database_takes_the_ones_before():
    """The reading of a source does not wait for the database, but for the chunk that it gathers next."""
    first_waits, second_is_there = anyio.Event(), anyio.Event()

    async def objects() -> AsyncIterator[Object]:
        for number in range(2 * CHUNK):
            if number == 2 * CHUNK - 1:
                await first_waits.wait()
                second_is_there.set()
            yield Object("archive", f"{number}.mp4")

    async def register(chunk: Sequence[tuple[Object, int]]) -> int:
        first_waits.set()
        await second_is_there.wait()
        return len(chunk)

    found = Discovered()
    with anyio.fail_after(30):
        await discover(objects(), register, {"archive": lanes(20)}, found)
    assert found.added == 2 * CHUNK


def test_keys_that_cannot_be_kept_are_bad_rows_of_a_listing(desk: Desk, aws: SmallAws, videos: Videos):
    """A listed key that PostgreSQL cannot keep is told and counted; its neighbours are registered."""
    aws.keys = ["a.mp4", "b%00.mp4", "=cmd|' /C calc'!A0.mp4", "../../etc/passwd", "%1B[2J.mp4"]
    aws.encoding = "<EncodingType>url</EncodingType>"
    assert desk.run("enqueue", "s3://archive/") == 1
    assert desk.out.endswith("backfill archive: 4 videos registered, 0 known already, 1 bad row skipped\n")
    assert [key for _, key in videos()] == ["a.mp4", "=cmd|' /C calc'!A0.mp4", "../../etc/passwd", "\x1b[2J.mp4"]
    assert "\x1b" not in desk.out + desk.err


def test_log_of_bad_rows_is_bounded(desk: Desk, videos: Videos):
    """Of a hundred thousand bad rows the first are told, all are counted, and the good ones between are taken."""
    rows = ["bad"] * 100_000
    rows[50_000] = "archive,a.mp4"
    assert desk.run("enqueue", desk.file("films.csv", "\n".join(rows)), "--name", "films") == 1
    assert desk.out.endswith("backfill films: 1 video registered, 0 known already, 99,999 bad rows skipped\n")
    assert (desk.out + desk.err).count("bad row skipped ") == BAD_ROWS_TOLD
    assert len(videos()) == 1


def test_large_manifest_takes_little_memory(desk: Desk, videos: Videos):
    """The peak of memory hardly rises with the length of a manifest."""
    small = desk.file("small.jsonl", "\n".join(LINE.format(n) for n in range(6_000)))
    large = desk.file("large.jsonl", "\n".join(LINE.format(f"folder/of/films/{n:060}") for n in range(MANY)))
    assert desk.run("config", "check") == 0
    command = [sys.executable, "-c", MEASURED, str(desk.config_file), small, large]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    growth_bytes = int(done.stdout.splitlines()[-1])
    print(f"peak grew by {growth_bytes:,} bytes")
    assert growth_bytes < GROWTH_BYTES
    assert len(videos()) == MANY + 6_000

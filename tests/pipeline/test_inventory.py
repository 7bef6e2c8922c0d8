"""From an inventory in S3 to registered videos: what is registered, and what is told when it cannot be."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.inventories import FORMATS, MANIFEST, Line, write_inventory
from tests.system.site import ROOT, Site
from tests.system.test_moto import ENVIRONMENT, client, moto_url
from tests.system.truth import rows_in
from worker.pipeline.listing import TRIES

__all__ = ["moto_url"]

ARCHIVE = "synthetic-archive"
VIDEOS = 2_500
LINES_A_FILE = 1_000
READING = {"operations": ["GetObject"]}
WITHOUT_PYARROW = "import sys; sys.modules['pyarrow'] = None; from worker.cli import main; main()"

each_format = pytest.mark.parametrize("file_format", FORMATS)


class Shelf:
    """A folder that the local service publishes as a bucket of inventories."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        folder.mkdir()
        body = json.dumps({"path": str(folder)}).encode()
        request = urllib.request.Request(f"{site.service_url()}/_folders", body, method="PUT")
        with urllib.request.urlopen(request, timeout=30) as response:
            self.bucket = json.load(response)["bucket"]

    def put(self, file_format: str = "CSV", lines: list[Line] | None = None, bucket: str = ARCHIVE) -> str:
        """Write an inventory, by default of the archive; returns the source that names it."""
        lines = lines if lines is not None else [Line(bucket, f"{n:05}.mp4") for n in range(VIDEOS)]
        write_inventory(self.folder, file_format, lines, bucket=bucket, lines_a_file=LINES_A_FILE)
        return f"inventory:s3://{self.bucket}/{MANIFEST}"

    def manifest(self) -> dict[str, Any]:
        """What the manifest says."""
        document: dict[str, Any] = json.loads((self.folder / MANIFEST).read_bytes())
        return document

    def change(self, **changes: Any) -> None:
        """Let the manifest say something else."""
        (self.folder / MANIFEST).write_text(json.dumps(self.manifest() | changes))

    def file(self, number: int) -> Path:
        """A data file."""
        return self.folder / self.manifest()["files"][number]["key"]


@pytest.fixture
def shelf(site: Site, tmp_path: Path) -> Shelf:
    site.configure(local={"videos": 10})
    site.service()
    return Shelf(site, tmp_path / "shelf")


def enqueue(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Register under one name."""
    return site.run("enqueue", *arguments, "--name", "films")


def registered(site: Site) -> list[tuple[str, str | None, int | None]]:
    """(key, VersionId, bytes) of the registered videos in the order of their keys."""
    rows = asyncio.run(rows_in(site.database_url, "select key, version_id, size_bytes from video order by key"))
    return [tuple(row) for row in rows]


@each_format
def test_every_object_is_registered(shelf: Shelf, file_format: str):
    """Over several data files, without older versions and delete markers; again it adds nothing."""
    older = [Line(ARCHIVE, "00000.mp4", "v0", is_latest=False), Line(ARCHIVE, "gone.mp4", is_delete_marker=True)]
    source = shelf.put(file_format, [*older, *(Line(ARCHIVE, f"{n:05}.mp4", size=n + 1) for n in range(VIDEOS))])
    done = enqueue(shelf.site, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"backfill films: {VIDEOS:,} videos registered, 0 known already\n"
    assert registered(shelf.site) == [(f"{n:05}.mp4", None, n + 1) for n in range(VIDEOS)]
    assert enqueue(shelf.site, source).stdout == f"backfill films: 0 videos registered, {VIDEOS:,} known already\n"


@each_format
def test_inventory_at_another_s3_is_read(site: Site, moto_url: str, tmp_path: Path, file_format: str):
    """Moto's S3, in which the objects are too: they are the videos that a listing names."""
    bucket = f"archive-{file_format.lower()}"
    s3 = client("s3", moto_url)
    for name in (bucket, f"{bucket}-inventory"):
        s3.create_bucket(Bucket=name)
    keys = ["a b+c.mp4", "東京.mp4", "100%.mp4"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    lines = [Line(bucket, key, size=1) for key in keys]
    manifest = write_inventory(tmp_path / "inventory", file_format, lines, bucket=bucket)
    for path in (manifest, *(tmp_path / "inventory" / "data").iterdir()):
        name = str(path.relative_to(tmp_path / "inventory"))
        s3.put_object(Bucket=f"{bucket}-inventory", Key=name, Body=path.read_bytes())
    site.sections["lanes.main"] = {"region": "us-east-1", "endpoint_url": moto_url, **_channel()}
    site.configure()
    sources = (f"inventory:s3://{bucket}-inventory/{MANIFEST}", f"s3://{bucket}/")
    done = site.run("enqueue", *sources, "--name", "films", environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "backfill films: 3 videos registered, 3 known already\n"
    assert [key for key, _, _ in registered(site)] == sorted(keys)


def _channel() -> dict[str, str]:
    account = "123456789012"
    return {
        "queue_url": f"http://127.0.0.1:1/{account}/moderation",
        "sns_topic_arn": f"arn:aws:sns:us-east-1:{account}:AmazonRekognition-films",
        "publish_role_arn": f"arn:aws:iam::{account}:role/publish",
    }


def test_dry_run_counts(shelf: Shelf):
    """And registers nothing; bad rows are told with their file and row."""
    source = shelf.put(lines=[Line(ARCHIVE, "a.mp4"), Line("another", "b.mp4"), Line(ARCHIVE, "c.mp4")])
    done = enqueue(shelf.site, source, "--dry-run")
    assert done.returncode == 1
    assert "the sources name 2 videos; nothing is registered, 1 bad row skipped" in done.stdout
    (line,) = (json.loads(line) for line in done.stderr.splitlines() if "bad row" in line)
    assert (line["source"], line["line"]) == (f"s3://{shelf.bucket}/data/0.csv.gz", 2)
    assert registered(shelf.site) == []


def test_bucket_without_a_lane_is_refused(shelf: Shelf):
    """The objects' bucket counts, not that of the inventory: nothing is registered."""
    source = shelf.put(bucket="synthetic-archive-eu-west-1")
    done = enqueue(shelf.site, source)
    assert done.returncode == 2
    assert "bucket synthetic-archive-eu-west-1 is in eu-west-1, where no lane is configured" in done.stderr
    assert registered(shelf.site) == []


def test_answers_that_are_cut_short_are_asked_for_again(shelf: Shelf):
    """Of the manifest and of data files, whole ones come of it."""
    source = shelf.put("Parquet")
    shelf.site.put_faults({"calls": [{"fault": "truncated", "skip": 1, "times": 3} | READING]})
    done = enqueue(shelf.site, source)
    assert done.returncode == 0, done.stderr
    assert len(registered(shelf.site)) == VIDEOS


def test_file_that_cannot_be_had_ends_it(shelf: Shelf):
    """After some tries, with its name and what to do; what came before stays, and the same command goes on."""
    source = shelf.put()
    shelf.site.put_faults({"calls": [{"fault": "truncated", "skip": 3, "times": TRIES} | READING]})
    done = enqueue(shelf.site, source)
    assert done.returncode == 2
    assert f"s3://{shelf.bucket}/data/1.csv.gz cannot be read (" in done.stderr
    assert "give the command again" in done.stderr
    assert len(registered(shelf.site)) in (0, LINES_A_FILE)
    assert enqueue(shelf.site, source).returncode == 0
    assert len(registered(shelf.site)) == VIDEOS


def _gone(shelf: Shelf) -> None:
    shelf.file(2).unlink()


def _longer(shelf: Shelf) -> None:
    with shelf.file(2).open("ab") as file:
        file.write(b"x")


def _other(shelf: Shelf) -> None:
    content = bytearray(shelf.file(0).read_bytes())
    content[100] ^= 1
    shelf.file(0).write_bytes(content)


def _empty(shelf: Shelf) -> None:
    shelf.change(files=[])


def _no_manifest(shelf: Shelf) -> None:
    (shelf.folder / MANIFEST).write_text("hello")


def _missing(shelf: Shelf) -> None:
    (shelf.folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_gone, r"data/2\.csv\.gz cannot be read \(404.*\); the inventory .* is not all there any more"),
        (_longer, r"data/2\.csv\.gz has [\d,]+ bytes, the manifest says [\d,]+"),
        (_other, r"data/0\.csv\.gz is not the file that the manifest tells the size and MD5 of"),
        (_empty, r"manifest\.json names no video; it has no data files"),
        (_no_manifest, r"manifest\.json is no manifest of S3 Inventory"),
        (_missing, r"manifest\.json cannot be read \(NoSuchKey.*\); name the manifest\.json of an inventory"),
    ],
)
def test_inventory_that_is_not_whole_is_refused(shelf: Shelf, spoil: Any, said: str):
    """Before anything is registered, in one sentence."""
    source = shelf.put()
    spoil(shelf)
    done = enqueue(shelf.site, source)
    assert done.returncode == 2
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert registered(shelf.site) == []


def test_inventory_without_pyarrow_is_told(shelf: Shelf):
    """What to install, before anything is registered."""
    command = [
        sys.executable,
        "-c",
        WITHOUT_PYARROW,
        "enqueue",
        shelf.put("ORC"),
        "--config",
        str(shelf.site.config_file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "modworker: Parquet and ORC need pyarrow: install modworker[arrow], or take CSV\n"
    assert asyncio.run(rows_in(shelf.site.database_url, "select from backfill")) == []

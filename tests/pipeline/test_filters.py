"""Which objects are meant, and that nothing is chosen by what a source does not tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.inventories import Line
from tests.pipeline.test_inventory import ARCHIVE, Shelf
from tests.system.site import Site
from tests.system.truth import rows_in
from worker.aws.manifests import BadRow
from worker.errors import UsageError
from worker.model import ListedObject, Object
from worker.pipeline.filters import DATE, KEY, SIZE, STORAGE_CLASS, Choice, Filters, chosen

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def listed(key: str = "2024/a.mp4", **known: Any) -> ListedObject:
    """An object as a listing tells of it."""
    return ListedObject(
        "archive", key, **{"size_bytes": 1000, "modified_at": NOON, "storage_class": "STANDARD", **known}
    )


def takes(named: Object, **filters: Any) -> bool:
    """Whether the filters let the object through."""
    return Choice(Filters(**filters)).takes(named)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("*.mp4", "2024/a/b.mp4", True),
        ("*.mp4", "a.MP4", False),
        ("*.mp4", "a.mp4.part", False),
        ("2024/*", "2024/a/b.mp4", True),
        ("2024/*", "archive/2024/a.mp4", False),
        ("2024", "2024/a.mp4", False),
        ("camera-0?/*", "camera-07/a.mp4", True),
        ("camera-0?/*", "camera-17/a.mp4", False),
        ("camera-[1-3]*", "camera-2.mp4", True),
        ("camera-[!1-3]*", "camera-2.mp4", False),
        ("[*].mp4", "*.mp4", True),
        ("[*].mp4", "a.mp4", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("*", "a\nb", True),
        ("東京/*", "東京/a.mp4", True),
    ],
)
def test_pattern_is_of_the_whole_key(pattern: str, key: str, *, fits: bool):
    """A star is any text, slashes included; letters are taken as they are."""
    assert takes(listed(key), match=[pattern]) is fits
    assert takes(listed(key), exclude=[pattern]) is not fits


def test_key_fits_one_pattern_and_none_that_excludes():
    """Several patterns widen the choice, those that exclude narrow it."""
    films = {"match": ["*.mp4", "*.mov"], "exclude": ["*/trailers/*", "old/*"]}
    keys = ["a.mp4", "b.mov", "c.txt", "old/a.mp4", "x/trailers/a.mov"]
    assert [key for key in keys if takes(listed(key), **films)] == ["a.mp4", "b.mov"]


@pytest.mark.parametrize(
    ("filters", "known", "taken"),
    [
        ({"min_size_bytes": 1000}, {"size_bytes": 1000}, True),
        ({"min_size_bytes": 1000}, {"size_bytes": 999}, False),
        ({"min_size_bytes": 0}, {"size_bytes": 0}, True),
        ({"max_size_bytes": 1000}, {"size_bytes": 1000}, True),
        ({"max_size_bytes": 1000}, {"size_bytes": 1001}, False),
        ({"since": NOON}, {"modified_at": NOON}, True),
        ({"since": NOON}, {"modified_at": NOON - SECOND}, False),
        ({"until": NOON}, {"modified_at": NOON}, False),
        ({"until": NOON}, {"modified_at": NOON - SECOND}, True),
        ({"storage_classes": ["GLACIER_IR", "STANDARD"]}, {"storage_class": "STANDARD"}, True),
        ({"storage_classes": ["STANDARD"]}, {"storage_class": "STANDARD_IA"}, False),
        ({"match": ["*"], "min_size_bytes": 1, "since": NOON}, {}, True),
        ({"match": ["*"], "min_size_bytes": 1, "since": NOON + SECOND}, {}, False),
        ({}, {}, True),
    ],
)
def test_object_must_fit_every_filter(filters: dict[str, Any], known: dict[str, Any], *, taken: bool):
    """Both sizes are included, and of the dates the first."""
    assert takes(listed(**known), **filters) is taken


def test_choice_knows_what_it_needs():
    """And says so in one sentence with the options and the advice."""
    choice = Choice(Filters(match=["*"], until=NOON, max_size_bytes=1))
    assert choice.needs == [KEY, SIZE, DATE]
    assert choice.unknown_of(Object("archive", "a.mp4", size_bytes=1)) == DATE
    assert choice.unknown_of(listed(size_bytes=None)) == SIZE
    assert choice.unknown_of(listed(size_bytes=0)) is None
    with pytest.raises(UsageError) as refusal:
        choice.refuse_untold({KEY, SIZE, STORAGE_CLASS}, "films.csv", "name a prefix")
    assert str(refusal.value) == (
        "films.csv does not tell the date of the last change, by which --since and --until choose; name a prefix"
    )
    choice.refuse_untold({KEY, SIZE, DATE}, "films.csv", "name a prefix")
    assert Choice(Filters()).takes_all


async def test_rows_that_cannot_be_judged_are_bad_rows():
    """Others are let through or left out; bad rows stay what they are."""
    bad = BadRow("films", 7, "why")

    async def rows() -> Any:
        for row in (listed(), bad, listed(size_bytes=1), listed(size_bytes=None)):
            yield row

    left_out: list[None] = []
    choice = Choice(Filters(min_size_bytes=2))
    found = [row async for row in chosen(rows(), choice, "films", lambda: left_out.append(None))]
    assert found == [
        listed(),
        bad,
        BadRow("films", 4, "does not tell the size, by which --min-size and --max-size choose"),
    ]
    assert len(left_out) == 1


# Registration


@pytest.fixture
def site(site: Site) -> Site:
    """A site with a made-up archive of many dates, sizes and storage classes."""
    site.configure(local={"videos": 600})
    site.service()
    return site


def keys_in(site: Site) -> list[str]:
    """The keys of the registered videos."""
    rows = asyncio.run(rows_in(site.database_url, "select key from video order by key"))
    return [row["key"] for row in rows]


def contents_of(site: Site) -> list[dict[str, Any]]:
    """The archive as a plain client lists it."""
    contents: list[dict[str, Any]] = site.client("s3").list_objects_v2(Bucket=ARCHIVE)["Contents"]
    return contents


MIDDLE = datetime(2024, 1, 1, 0, 5, tzinfo=UTC)  # the archive has an object a second, from the year's first on
CHOICES: dict[str, tuple[list[str], Callable[[dict[str, Any]], bool]]] = {
    "match": (
        ["--match", "*Gate*", "--match", "*/camera-02/*"],
        lambda o: "Gate" in o["Key"] or "camera-02/" in o["Key"],
    ),
    "exclude": (["--exclude", "*/camera-01/*"], lambda o: "/camera-01/" not in o["Key"]),
    "sizes": (
        ["--min-size", "5MB", "--max-size", "20 MiB"],
        lambda o: 5_000_000 <= o["Size"] <= 20 * 2**20,
    ),
    "dates": (
        ["--since", "2024-01-01T00:02:00Z", "--until", "2024-01-01T01:05:00+01:00"],
        lambda o: MIDDLE - timedelta(minutes=3) <= o["LastModified"] < MIDDLE,
    ),
    "storage class": (["--storage-class", "standard_ia"], lambda o: o["StorageClass"] == "STANDARD_IA"),
}


@pytest.mark.parametrize("options", CHOICES)
def test_listing_is_chosen_from(site: Site, options: str):
    """By what a plain client sees of the objects; what is left out is counted, and a dry run says the same."""
    typed, is_meant = CHOICES[options]
    contents = contents_of(site)
    expected = [content["Key"] for content in contents if is_meant(content)]
    assert 0 < len(expected) < len(contents)
    left_out = f"{len(contents) - len(expected):,} left out by the filters"
    done = site.run("enqueue", *typed, f"s3://{ARCHIVE}/", "--dry-run")
    assert done.stdout.endswith(f"the sources name {len(expected):,} videos; nothing is registered, {left_out}\n"), (
        done.stderr
    )
    done = site.run("enqueue", f"s3://{ARCHIVE}/", *typed)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (f"backfill {ARCHIVE}: {len(expected):,} videos registered, 0 known already, {left_out}\n")
    assert keys_in(site) == sorted(expected)


def test_other_filters_add_to_the_same_backfill(site: Site):
    """Its name is made from the sources alone; a backfill moderates what was chosen, and no more."""
    source = f"s3://{ARCHIVE}/"
    gates = [content["Key"] for content in contents_of(site) if "Gate" in content["Key"]]
    assert site.run("enqueue", source, "--match", "*Gate*").returncode == 0
    assert site.run("enqueue", source, "--match", "*Gate*", "--match", "*Lobby*").returncode == 0
    added = set(keys_in(site)) - set(gates)
    assert added
    assert all("Lobby" in key for key in added)
    done = site.run("backfill", source, "--match", "*nothing of the kind*")
    assert done.returncode in (0, 1), done.stderr
    assert "0 videos registered, 0 known already, 600 left out by the filters" in done.stdout
    assert site.ledger()["paid_jobs"] == len(gates) + len(added)


def manifest(folder: Path, lines: list[dict[str, Any]]) -> str:
    """A manifest of these lines."""
    path = folder / "films.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_manifest_is_chosen_from_by_what_it_tells(site: Site, tmp_path: Path):
    """Buckets of which nothing is meant need no lane; if nothing at all is meant, nothing is wrong."""
    lines = [
        {"bucket": ARCHIVE, "key": "a.mp4", "size_bytes": 10},
        {"bucket": ARCHIVE, "key": "b.mp4", "size_bytes": 20},
        {"bucket": f"{ARCHIVE}-eu-west-1", "key": "c.txt", "size_bytes": 30},
    ]
    source = manifest(tmp_path, lines)
    assert site.run("enqueue", source, "--min-size", "15").returncode == 2
    done = site.run("enqueue", source, "--min-size", "15", "--match", "*.mp4")
    assert done.returncode == 0, done.stderr
    assert keys_in(site) == ["b.mp4"]
    done = site.run("enqueue", source, "--min-size", "1TB")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": 0 videos registered, 0 known already, 3 left out by the filters\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "2026-01-01"], "does not tell the date of the last change, by which --since and --until choose"),
        (["--storage-class", "STANDARD"], "does not tell the storage class, by which --storage-class choose"),
        (
            ["--max-size", "1GB"],
            f"names {ARCHIVE}/b.mp4 and does not tell the size, by which --min-size and --max-size choose; write",
        ),
    ],
)
def test_manifest_is_not_chosen_from_by_what_it_does_not_tell(
    site: Site, tmp_path: Path, options: list[str], said: str
):
    """One sentence, and nothing is registered."""
    lines = [{"bucket": ARCHIVE, "key": "a.mp4", "size_bytes": 10}, {"bucket": ARCHIVE, "key": "b.mp4"}]
    source = manifest(tmp_path, lines)
    done = site.run("enqueue", source, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"modworker: {source} ")
    assert said in done.stderr
    assert keys_in(site) == []


@pytest.mark.parametrize("file_format", ["CSV", "Parquet", "ORC"])
def test_inventory_is_chosen_from(site: Site, tmp_path: Path, file_format: str):
    """By dates, storage classes, sizes and keys, in every format."""
    lines = [
        Line(ARCHIVE, "a.mp4", last_modified_date=NOON),
        Line(ARCHIVE, "early.mp4", last_modified_date=NOON - SECOND),
        Line(ARCHIVE, "late.mp4", last_modified_date=NOON + SECOND),
        Line(ARCHIVE, "cold.mp4", last_modified_date=NOON, storage_class="GLACIER"),
        Line(ARCHIVE, "small.mp4", last_modified_date=NOON, size=1),
        Line(ARCHIVE, "a.txt", last_modified_date=NOON),
    ]
    source = Shelf(site, tmp_path / "shelf").put(file_format, lines)
    dates = ["--since", "2026-01-01T12:00:00", "--until", "2026-01-01T12:00:01Z"]
    done = site.run("enqueue", source, *dates, "--storage-class", "STANDARD", "--min-size", "2B", "--match", "*.mp4")
    assert done.returncode == 0, done.stderr
    assert keys_in(site) == ["a.mp4"]
    assert "5 left out by the filters" in done.stdout


def test_inventory_without_a_field_is_not_chosen_from_by_it(site: Site, tmp_path: Path):
    """The field is to be added to the inventory; nothing is registered."""
    shelf = Shelf(site, tmp_path / "shelf")
    source = shelf.put()
    shelf.change(fileSchema="Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size")
    done = site.run("enqueue", source, "--since", "2026-01-01")
    assert done.returncode == 2
    assert done.stderr == (
        f"modworker: {source} does not tell the date of the last change, by which --since and --until choose; "
        "have it written with that field\n"
    )
    assert keys_in(site) == []

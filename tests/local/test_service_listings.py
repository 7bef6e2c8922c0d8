"""Listings in pages, against what a list of all keys says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.conftest import Service, archive_keys, until
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.protocol.identity import Caller
from worker.local.s3.listing import objects_document
from worker.local.s3.walking import CommonPrefix, behind, behind_prefix, first_page, walk
from worker.local.storage.archive import Archive
from worker.local.storage.directories import Directories
from worker.local.storage.objects import StoredObject

AWKWARD_NAMES = [
    "a-.mp4",
    "a.mp4",
    "a/a/a.mp4",
    "a/a/b.mp4",
    "a/a0.mp4",
    "a/b.mp4",
    "a/ü.mp4",
    "a0.mp4",
    "a\x01.mp4",
    "aa/-/b",
    "b b+b&b=b%20<b>.mp4",
    "b/b/b/b.mp4",
    "b/b/b0",
    "b\n.mp4",
    "\ud7ff/x.mp4",
    "\ue000/x.mp4",
    "\ufffd/x.mp4",
    "\U0010ffff.mp4",
    "\U0010ffff/\U0010ffff/x.mp4",
    "\U0010ffff\U0010ffff.mp4",
    "🎬/🎬/a.mp4",
    "🎬/🎬🎬.mp4",
]
NO_NEW_FIXTURES = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


def expected(keys: list[str], prefix: str, delimiter: str, start_after: str) -> list[str]:
    """Keys and common prefixes in their order, as the API's documentation defines them."""
    entries = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix) and key.encode() > start_after.encode():
            first, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entries[prefix + first + delimiter if found else key] = None
    return list(entries)


def paged(s3: Any, bucket: str, page_size: int, **how: Any) -> Iterator[list[str]]:
    """The entries of each page; all but the last are full."""
    how = {"Bucket": bucket, "MaxKeys": page_size} | {name: value for name, value in how.items() if value}
    while True:
        page = s3.list_objects_v2(**how)
        keys = [item["Key"] for item in page.get("Contents", ())]
        groups = [group["Prefix"] for group in page.get("CommonPrefixes", ())]
        entries = sorted(keys + groups, key=str.encode)
        assert page["KeyCount"] == len(entries)
        assert page["MaxKeys"] == page_size
        assert page["IsTruncated"] is ("NextContinuationToken" in page)
        yield entries
        if not page["IsTruncated"]:
            return
        assert len(entries) == page_size
        how["ContinuationToken"] = page["NextContinuationToken"]


def parts_of(names: list[str]) -> st.SearchStrategy[str]:
    """Beginnings of names, names, and what lies beside them."""
    beginnings = st.sampled_from(names).flatmap(lambda name: st.integers(0, len(name)).map(lambda end: name[:end]))
    return st.one_of(st.just(""), beginnings, st.sampled_from(names), st.sampled_from(["~", "a/\uffff", "b/b", "A"]))


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    return service.client("s3")


@pytest.fixture(scope="module")
def awkward(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("awkward")
    for name in AWKWARD_NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return service.publish(root)


@settings(max_examples=80, **NO_NEW_FIXTURES)
@given(
    prefix=parts_of(AWKWARD_NAMES),
    start_after=parts_of(AWKWARD_NAMES),
    delimiter=st.sampled_from(["", "/", "a", ".mp4", "/b", "\U0010ffff", "🎬", " ", "%20"]),
    page_size=st.sampled_from([1, 2, 3, 7, 1000]),
)
def test_pages_of_a_folder_are_what_a_list_of_its_keys_says(
    s3: Any, awkward: str, prefix: str, start_after: str, delimiter: str, page_size: int
) -> None:
    """Whatever is asked for, the pages one after the other are the entries, each once and in order."""
    pages = paged(s3, awkward, page_size, Prefix=prefix, StartAfter=start_after, Delimiter=delimiter)
    wanted = expected(AWKWARD_NAMES, prefix, delimiter, start_after)
    assert [entry for page in pages for entry in page] == wanted


@pytest.fixture(scope="module")
def keys(service: Service) -> list[str]:
    return archive_keys(service)


@settings(max_examples=25, **NO_NEW_FIXTURES)
@given(
    data=st.data(),
    delimiter=st.sampled_from(["", "/", " ", "camera", "é", "0", ".mp4", "🎬"]),
    page_size=st.sampled_from([150, 333, 1000]),
)
def test_pages_of_the_archive_are_what_a_list_of_its_keys_says(
    s3: Any, keys: list[str], data: st.DataObject, delimiter: str, page_size: int
) -> None:
    """The same for the archive, whose keys are computed."""
    prefix, start_after = data.draw(parts_of(keys)), data.draw(parts_of(keys))
    pages = paged(s3, "synthetic-archive", page_size, Prefix=prefix, StartAfter=start_after, Delimiter=delimiter)
    assert [entry for page in pages for entry in page] == expected(keys, prefix, delimiter, start_after)


KEYS = st.lists(st.text("ab/\ud7ff\ue000\U0010ffff", min_size=1, max_size=5), unique=True, max_size=30)


@settings(max_examples=300, deadline=None)
@given(
    KEYS, st.text("ab/", max_size=2), st.sampled_from(["", "/", "a", "ab", "\ud7ff", "\U0010ffff"]), st.integers(1, 4)
)
def test_a_walk_in_pages_visits_every_entry_once(keys: list[str], prefix: str, delimiter: str, most: int) -> None:
    """A walk that goes on behind the last entry of each page finds what the whole walk finds."""
    found, start = [], ""
    while start is not None:
        page = first_page(walk(lister(keys), prefix, delimiter, start), most)
        found += [entry.text if isinstance(entry, CommonPrefix) else entry.key for entry in page.entries]
        start = behind(page.entries[-1]) if page.is_truncated else None
    assert found == expected(keys, prefix, delimiter, "")


def lister(keys: list[str]) -> Any:
    ordered = sorted(keys)
    return lambda prefix, start: (
        StoredObject(key, 0, "", 0.0, None, None) for key in ordered if key >= start and key.startswith(prefix)
    )


@given(st.text(max_size=3), st.text(max_size=3))
def test_behind_a_prefix_begins_what_lies_behind_its_keys(prefix: str, key: str) -> None:
    """Of the keys that do not begin with the prefix, those above are not below that text, and the others are."""
    following = behind_prefix(prefix)
    if key.startswith(prefix):
        assert following is None or key < following
    elif following is not None:
        assert (key > prefix) == (key >= following)


def test_pages_of_ten_million_videos_take_milliseconds() -> None:
    """A page is found wherever it begins, and a common prefix is passed over however many keys it holds."""
    archive = Archive(SyntheticAnalyst(1), 1, 10**7)
    caller = Caller("123456789012", "us-east-1")
    queries = [
        {"delimiter": "/"},
        {"delimiter": "/", "prefix": "2100/"},
        {"start-after": "2153/07"},
        {"delimiter": " ", "start-after": "2100/03/camera-05"},
    ]
    for query in queries:
        began_at = time.perf_counter()
        document = objects_document(caller, "synthetic-archive", archive, query)
        assert time.perf_counter() - began_at < 2  # some milliseconds on an idle machine
        assert b"<Contents>" in document or b"<CommonPrefixes>" in document


def test_a_page_of_nothing_is_complete(s3: Any) -> None:
    """max-keys=0 gives an empty page that is not truncated."""
    page = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"], page.get("Contents")) == (0, False, None)


def test_listings_show_owners_when_asked(s3: Any) -> None:
    """fetch-owner=true gives each object the account's canonical user."""
    plain = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=1)["Contents"][0]
    owned = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=1, FetchOwner=True)["Contents"][0]
    assert "Owner" not in plain
    assert len(owned.pop("Owner")["ID"]) == 64
    assert owned == plain


@pytest.mark.parametrize("page_size", [1, 2, 5, 1000])
@pytest.mark.parametrize("delimiter", ["", "-"])
def test_versions_are_listed_in_pages(s3: Any, page_size: int, delimiter: str) -> None:
    """ListObjectVersions shows all versions of each object, the latest first, whatever the size of a page."""
    paginator = s3.get_paginator("list_object_versions")
    how = {"Bucket": "synthetic-edge-cases"} | ({"Delimiter": delimiter} if delimiter else {})
    whole = s3.list_object_versions(**how)
    pages = list(paginator.paginate(PaginationConfig={"PageSize": page_size}, **how))
    for member in ("Versions", "CommonPrefixes"):
        assert [entry for page in pages for entry in page.get(member, ())] == whole.get(member, [])
    if delimiter:
        assert "three-" in [group["Prefix"] for group in whole["CommonPrefixes"]]
    else:
        three = [version for version in whole["Versions"] if version["Key"] == "three-versions.mp4"]
        assert [version["IsLatest"] for version in three] == [True, False, False]
        assert len({version["VersionId"] for version in three}) == 3


def test_new_files_are_listed_at_once(service: Service, s3: Any, tmp_path: Path) -> None:
    """What is known of a folder is looked up again as soon as the folder has changed."""
    bucket = service.publish(tmp_path)
    for number in range(20):
        (tmp_path / f"{number:02d}.mp4").write_bytes(b"x")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == number + 1
    (tmp_path / "00.mp4").unlink()
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 19


def test_folders_are_scanned_again_only_once_they_changed(tmp_path: Path) -> None:
    """The names of a folder that has been left alone are kept; a change of the folder is seen at once."""
    directories = Directories(settled_seconds=0)
    (tmp_path / "a.mp4").touch()
    until(lambda: directories.names(tmp_path) is directories.names(tmp_path))
    (tmp_path / "b").mkdir()
    os.utime(tmp_path, (1, 1))  # another time for certain: clocks of file systems tick slowly
    assert list(directories.names(tmp_path).since("")) == ["a.mp4", "b/"]
    assert list(directories.names(tmp_path / "gone").since("")) == []


def test_a_folder_that_has_just_changed_is_scanned_anew(tmp_path: Path) -> None:
    """Two changes within a tick of the file system's clock are not told apart, so nothing is kept so soon."""
    directories = Directories(settled_seconds=3600)
    assert directories.names(tmp_path) is not directories.names(tmp_path)

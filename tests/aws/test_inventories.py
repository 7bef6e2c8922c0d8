"""The data files of S3 Inventory in each of its formats, and its manifests."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import orc, parquet

from benchmarks.inventories import FORMATS, Line, content_of
from tests.system.hostile_inputs import ODD_KEYS
from worker.aws.inventories import InventoryManifest, decode_manifest, objects_in
from worker.aws.manifests import BadRow
from worker.errors import UsageError
from worker.model import ListedObject, Object

ALL_FIELDS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
MANIFEST = {
    "sourceBucket": "archive",
    "destinationBucket": "arn:aws:s3:::inventories",
    "version": "2016-11-30",
    "creationTimestamp": "1514944800000",
    "fileFormat": "CSV",
    "fileSchema": ALL_FIELDS,
    "files": [{"key": "data/a.csv.gz", "size": 2147483647, "MD5checksum": "f11166069f1990abeb9c97ace9cdfabc"}],
}

MODIFIED_AT = datetime(2026, 1, 1, tzinfo=UTC)  # of every line that says no other time


def listed(key: str, size_bytes: int | None = 1000, storage_class: str | None = "STANDARD") -> ListedObject:
    """An object as a row names it."""
    return ListedObject("archive", key, size_bytes=size_bytes, modified_at=MODIFIED_AT, storage_class=storage_class)


each_format = pytest.mark.parametrize("file_format", FORMATS)


def named(folder: Path, file_format: str, content: bytes, schema: str = ALL_FIELDS) -> list[Object | BadRow]:
    """What a data file names."""
    path = folder / "data"
    path.write_bytes(content)
    return list(objects_in(path, InventoryManifest("archive", file_format, schema, []), "s3://inventories/data"))  # type: ignore[arg-type]


@each_format
def test_rows_name_objects(tmp_path: Path, file_format: str):
    """With size, date and storage class, as a listing names them; what is not told is not known."""
    lines = [Line("archive", "a.mp4", size=2**40), Line("archive", "b.mp4", size=None, storage_class="")]
    expected = [listed("a.mp4", 2**40), listed("b.mp4", None, None)]
    assert named(tmp_path, file_format, content_of(file_format, lines)) == expected


@each_format
def test_what_is_no_object_of_today_is_left_out(tmp_path: Path, file_format: str):
    """Older versions, delete markers and markers of folders."""
    lines = [
        Line("archive", "old.mp4", is_latest=False),
        Line("archive", "deleted.mp4", is_delete_marker=True, size=None),
        Line("archive", "deleted before.mp4", is_latest=False, is_delete_marker=True, size=None),
        Line("archive", "folder/", size=0),
        Line("archive", "a.mp4"),
    ]
    assert named(tmp_path, file_format, content_of(file_format, lines)) == [listed("a.mp4")]


@each_format
def test_odd_keys_are_kept_as_they_are(tmp_path: Path, file_format: str):
    """In CSV keys are percent-encoded with a plus sign for a space, in the others they are as they are."""
    keys = [*ODD_KEYS, "a b+c%20d.mp4", "+", "100%.mp4", 'say "hi", 東京.mp4', "a\nb.mp4"]
    lines = [Line("archive", key) for key in keys]
    found = named(tmp_path, file_format, content_of(file_format, lines))
    assert [row.key for row in found if isinstance(row, Object)] == keys


@each_format
def test_bad_rows_are_told_with_file_and_row(tmp_path: Path, file_format: str):
    """Their neighbours are taken."""
    lines = [
        Line("archive", "a.mp4"),
        Line("another-bucket", "b.mp4"),
        Line("archive", ""),
        Line("archive", "k" * 1025),
        Line("archive", "c.mp4", size=-1),
        Line("archive", "d.mp4"),
    ]
    first, *bad, last = named(tmp_path, file_format, content_of(file_format, lines))
    assert (first, last) == (listed("a.mp4"), listed("d.mp4"))
    assert [(row.source, row.line, row.reason) for row in bad if isinstance(row, BadRow)] == [
        ("s3://inventories/data", 2, "names the bucket 'another-bucket', the manifest 'archive'"),
        ("s3://inventories/data", 3, "the key has 0 bytes, not 1 to 1,024"),
        ("s3://inventories/data", 4, "the key has 1,025 bytes, not 1 to 1,024"),
        ("s3://inventories/data", 5, "its size is none that an object can have"),
    ]


def test_csv_columns_are_those_of_the_schema(tmp_path: Path):
    """In its order; an inventory of current versions has fewer, and unknown ones are passed over."""
    content = gzip.compress(b'"7","a+b.mp4","archive","later"\n')
    assert named(tmp_path, "CSV", content, "Size, Key, Bucket, WhateverComes") == [
        ListedObject("archive", "a b.mp4", size_bytes=7)
    ]
    assert named(tmp_path, "CSV", gzip.compress(b"archive,a.mp4\n"), "Bucket,Key") == [ListedObject("archive", "a.mp4")]


@pytest.mark.parametrize("file_format", ["Parquet", "ORC"])
def test_columns_are_found_by_their_names(tmp_path: Path, file_format: str):
    """Whatever their order; an inventory of current versions has fewer."""
    table = pa.table({"e_tag": ["x"], "key": ["a+b.mp4"], "bucket": ["archive"]})
    path = tmp_path / "table"
    (parquet if file_format == "Parquet" else orc).write_table(table, path)
    assert named(tmp_path, file_format, path.read_bytes()) == [ListedObject("archive", "a+b.mp4")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'"archive"', "IndexError"),
        (b'"archive","a.mp4","v1","maybe","false","1","","",""', "KeyError 'maybe'"),
        (b'"archive","a.mp4","v1","true","false","many","","",""', "ValueError invalid literal"),
        (b'"archive","a.mp4","v1","true","false","1","yesterday","",""', "ValueError Invalid isoformat string"),
        (b'"archive","%ff.mp4","v1","true","false","1","","",""', "UnicodeDecodeError"),
        (b'"archive","a.mp4', "Error unexpected end of data"),
        (b"\xff", "is not UTF-8 text"),
        (b'"archive","%00.mp4","v1","true","false","1","","",""', "it holds a NUL character"),
        (b"x" * 100_000, "is longer than 65536 bytes"),
    ],
)
def test_line_that_is_no_row_is_told(tmp_path: Path, line: bytes, reason: str):
    """With its number, and its neighbours are taken."""
    good = b'"archive","a.mp4","v1","true","false","1","2026-01-01T00:00:00.000Z","e","STANDARD"'
    before, bad, after = named(tmp_path, "CSV", gzip.compress(b"\n".join([good, line, good])))
    assert before == after == listed("a.mp4", 1)
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert reason in bad.reason


@each_format
def test_file_that_is_none_of_its_format_is_told(tmp_path: Path, file_format: str):
    """Garbage, nothing, and a file that was cut off."""
    whole = content_of(file_format, [Line("archive", f"{n}.mp4", e_tag=f"{n * 7919:032x}") for n in range(3_000)])
    for content in (random.Random(7).randbytes(5_000), whole[: len(whole) // 2]):
        with pytest.raises(UsageError, match=r"s3://inventories/data (is no gzip file|cannot be read as)"):
            named(tmp_path, file_format, content)


@pytest.mark.parametrize("file_format", ["Parquet", "ORC"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"bucket": ["archive"]}, "has no columns bucket and key"),
        ({"bucket": ["archive"], "key": [["a"]]}, "cannot be read as"),
        ({"bucket": ["archive"], "key": ["a"], "size": ["many"]}, "cannot be read as"),
    ],
)
def test_columns_of_another_kind_are_told(tmp_path: Path, file_format: str, columns: dict[str, list[Any]], said: str):
    """A file that S3 Inventory cannot have written is refused in one sentence."""
    path = tmp_path / "table"
    (parquet if file_format == "Parquet" else orc).write_table(pa.table(columns), path)
    with pytest.raises(UsageError, match=said):
        named(tmp_path, file_format, path.read_bytes())


def test_manifest_is_read():
    """As AWS documents it; members that are not needed are passed over."""
    manifest = decode_manifest(json.dumps(MANIFEST).encode(), "inventory:s3://i/manifest.json")
    assert (manifest.bucket, manifest.format) == ("archive", "CSV")
    (file,) = manifest.files
    assert (file.key, file.size_bytes) == ("data/a.csv.gz", 2147483647)


@pytest.mark.parametrize(
    "changes",
    [
        {"fileFormat": "XML"},
        {"fileSchema": "Key, Size"},
        {"files": None},
        {"files": [{"key": "a"}]},
        {"files": [{"key": 7, "size": 1}]},
        {"sourceBucket": 7},
    ],
)
def test_other_documents_are_no_manifest(changes: dict[str, Any]):
    """Each is refused in one sentence that names it."""
    with pytest.raises(UsageError, match=r"^inventory:s3://i/manifest.json (is no manifest|has no Bucket and Key)"):
        decode_manifest(json.dumps(MANIFEST | changes).encode(), "inventory:s3://i/manifest.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b"archive,a.mp4"])
def test_what_is_no_json_is_no_manifest(content: bytes):
    """Nor is it an exception."""
    with pytest.raises(UsageError, match="is no manifest of S3 Inventory"):
        decode_manifest(content, "inventory:s3://i/manifest.json")

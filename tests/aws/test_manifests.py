"""Manifests as people, spreadsheets and scripts write them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.system.hostile_inputs import ODD_KEYS
from worker.aws.manifests import LONGEST_LINE_BYTES, BadRow, fields_of, read_csv, read_json_lines, read_manifest
from worker.errors import UsageError
from worker.model import Object

A = Object("archive", "a.mp4")
B = Object("archive", "b.mp4")


def from_csv(content: str | bytes) -> list[Object | BadRow]:
    return list(read_csv(io.BytesIO(content.encode() if isinstance(content, str) else content), "films.csv"))


def from_json(content: str | bytes) -> list[Object | BadRow]:
    return list(read_json_lines(io.BytesIO(content.encode() if isinstance(content, str) else content), "films.jsonl"))


def reasons(rows: Iterable[Object | BadRow]) -> list[tuple[int, str]]:
    """(line, reason) of the bad rows, of which there are no others."""
    return [(row.line, row.reason) for row in rows if isinstance(row, BadRow)]


@pytest.mark.parametrize(
    "content",
    [
        "archive,a.mp4\narchive,b.mp4\n",
        "archive,a.mp4\narchive,b.mp4",
        "archive,a.mp4\r\narchive,b.mp4\r\n",
        "bucket,key\narchive,a.mp4\narchive,b.mp4\n",
        "\ufeffbucket,key\r\narchive,a.mp4\r\narchive,b.mp4\r\n",
        "\ufeffarchive,a.mp4\narchive,b.mp4\n",
        "\n\nBucket , KEY\n\narchive,a.mp4\n   \narchive,b.mp4\n",
        "key,size,bucket\na.mp4,5,archive\nb.mp4,,archive\n",
        '"archive","a.mp4"\n"archive","b.mp4"\n',
        "archive,a.mp4,,,,\narchive,b.mp4,,\n",
    ],
)
def test_csv_is_read_however_it_was_written(content: str):
    """With or without header, quotes, byte-order mark, carriage returns, empty lines and empty columns."""
    assert from_csv(content) == [A, B]


def test_csv_columns_stand_in_the_order_of_the_contract():
    """Without a header: bucket, key, version_id, etag, size_bytes, duration_ms."""
    assert from_csv("archive,a.mp4,v1,e1,1000,60000") == [Object("archive", "a.mp4", "v1", "e1", 1000, 60000)]


def test_csv_header_tells_the_columns():
    """With a header the columns may come in any order; without it `size_bytes` would be taken for a version."""
    rows = from_csv("duration_ms,bucket,comment,key,size_bytes\n60000,archive,mine,a.mp4,1000\n")
    assert rows == [Object("archive", "a.mp4", size_bytes=1000, duration_ms=60000)]


def test_csv_keys_may_hold_anything_but_line_breaks():
    """Commas, quotes, spaces and other scripts survive quoting."""
    keys = ["a,b.mp4", 'say "hi".mp4', " spaced .mp4", "猫/é.mp4", "it's;fine.mp4"]
    text = io.StringIO()
    csv.writer(text).writerows(["archive", key] for key in keys)
    assert from_csv(text.getvalue()) == [Object("archive", key) for key in keys]


def test_json_lines_are_read_by_name():
    """The names of the CSV's columns; others are ignored, null is as good as absent."""
    content = [
        {"bucket": "archive", "key": "a.mp4", "comment": "mine", "version_id": None},
        {"key": "b\nb.mp4", "bucket": "archive", "version_id": "v1", "etag": "e1", "size_bytes": 1, "duration_ms": 2},
    ]
    assert from_json("\r\n".join(map(json.dumps, content))) == [
        A,
        Object("archive", "b\nb.mp4", "v1", "e1", 1, 2),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("archive", "is not bucket,key,version_id,etag,size_bytes,duration_ms, of which bucket and key must be there"),
        ("archive;a.mp4", "is not bucket,key,version_id,etag,size_bytes,duration_ms"),
        ("archive,a.mp4,,,,,more", "is not bucket,key,version_id,etag,size_bytes,duration_ms"),
        (",a.mp4", "missing required field `bucket`"),
        ("archive,", "missing required field `key`"),
        ("an archive,a.mp4", "'an archive' is no name of a bucket"),
        ("ab,a.mp4", "'ab' is no name of a bucket"),
        ("archive,a.mp4,,,many", "Expected `int | null`, got `str` - at `$.size_bytes`"),
        ("archive,a.mp4,,,-1", "Expected `int` >= 0 - at `$.size_bytes`"),
        ("archive,a.mp4,,,9999999999999999999999", "`$.size_bytes`"),
        ('archive,"a.mp4', "is not CSV (unexpected end of data); a key with a line break needs JSON Lines"),
        ('archive,"a"b.mp4', "is not CSV"),
        ("archive,a\x00.mp4", "it holds a NUL character"),
        ("archive," + "é" * 513, "the key has 1,026 bytes, not 1 to 1,024"),
        ("archive," + "k" * LONGEST_LINE_BYTES, "is longer than 65536 bytes"),
    ],
)
def test_bad_csv_row_is_told_with_its_line(line: str, reason: str):
    """A row that names no object is told with its number and a reason; its neighbours are taken."""
    before, bad, after = from_csv(f"archive,a.mp4\n{line}\narchive,b.mp4\n")
    assert (before, after) == (A, B)
    assert isinstance(bad, BadRow)
    assert (bad.source, bad.line) == ("films.csv", 2)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Input data was truncated"),
        ("archive,a.mp4", "JSON is malformed"),
        ('["archive", "a.mp4"]', "Expected `object`, got `array`"),
        ('{"bucket": "archive"}', "missing required field `key`"),
        ('{"bucket": "archive", "key": 7}', "Expected `str`, got `int` - at `$.key`"),
        ('{"bucket": "archive", "key": ""}', "the key has 0 bytes"),
        ('{"bucket": "archive", "key": "\\u0000"}', "it holds a NUL character"),
        ('{"bucket": "archive", "key": "\\ud800"}', "no object's description"),
        ('{"bucket": "archive", "key": "a", "size_bytes": 1.5}', "Expected `int"),
        ("[" * 60_000, "no object's description"),
        ("x" * 1_000_000, "is longer than 65536 bytes"),
    ],
)
def test_bad_json_line_is_told_with_its_line(line: str, reason: str):
    """A line that names no object is told with its number and a reason; its neighbours are taken."""
    good = '{"bucket": "archive", "key": "a.mp4"}'
    before, bad, after = from_json(f"{good}\n{line}\n{good}\n")
    assert (before, after) == (A, A)
    assert isinstance(bad, BadRow)
    assert (bad.source, bad.line) == ("films.jsonl", 2)
    assert reason in bad.reason


def test_line_is_taken_apart_as_a_reader_of_csv_would():
    """Lines without quotes, and such with quotes around each field, are only split: the same fields come of it."""
    rng = random.Random(7)
    for _ in range(20_000):
        fields = [
            "".join(rng.choices('a1 ,";\t\x0b\x1c\u2028é\r', k=rng.randrange(5))) for _ in range(rng.randrange(1, 4))
        ]
        line = rng.choice([",".join(fields), ",".join(f'"{field}"' for field in fields)])
        try:
            expected: list[str] | None = next(csv.reader([line], strict=True))
        except csv.Error:
            expected = None
        if line:
            assert fields_or_none(line) == expected, line


def fields_or_none(line: str) -> list[str] | None:
    """None for what is no CSV."""
    try:
        return fields_of(line)
    except csv.Error:
        return None


@pytest.mark.parametrize("read", [read_csv, read_json_lines])
def test_rows_of_known_buckets_are_passed_over(read: Callable[..., Iterator[Object | BadRow]]):
    """Whoever looks for other buckets need not have them; of a row without a bucket nobody knows whose it is."""
    rows = [Object("archive", "a.mp4"), Object("other", "b.mp4"), Object("archive", "c.mp4")]
    if read is read_csv:
        content = "key,bucket\n" + "".join(f"{row.key},{row.bucket}\n" for row in rows) + "bad"
    else:
        content = "".join(json.dumps({"bucket": row.bucket, "key": row.key}) + "\n" for row in rows) + "bad"
    other, bad = read(io.BytesIO(content.encode()), "films", {"archive"})
    assert other == rows[1]
    assert isinstance(bad, BadRow)


def test_text_that_is_not_utf_8_is_told():
    """A spreadsheet's UTF-16 or Latin-1 is not guessed at."""
    assert reasons(from_csv(b"archive,\xe9.mp4\narchive,a.mp4")) == [(1, "is not UTF-8 text")]
    assert {reason for _, reason in reasons(from_csv("archive,a.mp4\n".encode("utf-16")))} >= {"is not UTF-8 text"}


def test_garbage_is_never_an_object_and_never_an_exception():
    """Whatever the bytes are, each line is an object that S3 may hold or a bad row, in bounded memory."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for read in (read_csv, read_json_lines):
        for _ in range(200):
            content = rng.randbytes(rng.randrange(3000)).replace(b"\x00", rng.choice([b"\x00", b"\n", b'"', b","]))
            for row in read(io.BytesIO(content), "garbage"):
                assert isinstance(row, Object | BadRow)
                assert isinstance(row, BadRow) or 0 < len(row.key.encode()) <= 1024


def test_line_of_many_megabytes_is_one_bad_row():
    """A file without line breaks is one bad row, read in pieces."""
    assert reasons(from_csv(b"x" * 10_000_000)) == [(1, "is longer than 65536 bytes")]
    assert from_csv(b"x" * 10_000_000 + b"\narchive,a.mp4")[1:] == [A]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_kept_as_they_are(key: str):
    """Formulas, dots, control characters and markup are text: S3 may hold such keys."""
    assert from_json(json.dumps({"bucket": "archive", "key": key})) == [Object("archive", key)]
    text = io.StringIO()
    csv.writer(text).writerow(["archive", key])
    assert from_csv(text.getvalue()) == [Object("archive", key)]


@pytest.mark.parametrize("bucket", ["..", "../..", "a/b", "/etc", "archive\n", "=cmd|' /C calc'!A0", "b" * 256])
def test_bucket_is_never_a_way_out(bucket: str):
    """What cannot be a bucket's name is refused before anybody takes it for a part of a path."""
    (row,) = from_json(json.dumps({"bucket": bucket, "key": "a.mp4"}))
    assert isinstance(row, BadRow)
    assert "is no name of a bucket" in row.reason


def test_version_must_fit_an_index():
    """A VersionId has 1,024 bytes at most, whatever its symbols: longer ones do not fit the index of videos."""
    (row,) = from_json(json.dumps({"bucket": "archive", "key": "a", "version_id": "é" * 513}))
    assert isinstance(row, BadRow)
    assert row.reason.endswith("its version or ETag has more than 1,024 bytes")


@pytest.mark.parametrize(
    ("beginning", "advice"),
    [
        (gzip.compress(b"archive,a.mp4", mtime=0), "is compressed; unpack it with gunzip"),
        (b"PK\x03\x04\x14\x00", "is a ZIP file, such as a workbook; save it as CSV"),
        ("archive,a.mp4".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    ],
)
def test_other_kinds_of_files_are_told_by_their_beginning(tmp_path: Path, beginning: bytes, advice: str):
    """A file whose name promises a manifest is refused in one sentence that says what it is."""
    path = tmp_path / "films.csv"
    path.write_bytes(beginning)
    with pytest.raises(UsageError, match=f"films.csv {advice}"):
        list(read_manifest(path, "films.csv"))


@pytest.mark.parametrize("name", ["films.csv", "films.CSV", "films.jsonl", "films.ndjson"])
def test_file_is_read_by_its_ending(tmp_path: Path, name: str):
    """`.csv`, `.jsonl` and `.ndjson`, in upper or lower case; bad rows name the file as the operator did."""
    path = tmp_path / name
    good = "archive,a.mp4" if name.lower().endswith("csv") else '{"bucket": "archive", "key": "a.mp4"}'
    path.write_text(f"{good}\nnothing\n")
    first, second = read_manifest(path, f"./{name}")
    assert first == A
    assert isinstance(second, BadRow)
    assert second.source == f"./{name}"


def test_file_that_cannot_be_read_is_told(tmp_path: Path):
    """Another ending, a folder or a missing file is one sentence."""
    with pytest.raises(UsageError, match=r"films.txt: a manifest's name ends in .csv or .jsonl; rename it"):
        list(read_manifest(tmp_path / "films.txt", "films.txt"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=r"folder.csv cannot be read \(Is a directory\); check its path"):
        list(read_manifest(tmp_path / "folder.csv", "folder.csv"))
    with pytest.raises(UsageError, match=r"gone.csv cannot be read \(No such file or directory\)"):
        list(read_manifest(tmp_path / "gone.csv", "gone.csv"))

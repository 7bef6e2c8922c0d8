"""Manifests of objects, CSV or JSON Lines, read a line at a time; a bad line is told with its number and skipped."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct, structs

from worker.errors import UsageError
from worker.model import LARGEST_NUMBER, Object

LONGEST_LINE_BYTES = 65_536
_LONGEST_BYTES = 1_024  # of a key and of a VersionId; AmazonS3/latest/userguide/object-keys.html
_BUCKET = re.compile(r"[0-9A-Za-z._-]{3,255}")
_COLUMNS = ("bucket", "key", "version_id", "etag", "size_bytes", "duration_ms")
_LONGEST_QUOTE = 60

_OTHER_FORMS = {
    b"\x1f\x8b": "is compressed; unpack it with gunzip",
    b"PK\x03\x04": "is a ZIP file, such as a workbook; save it as CSV",
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8",
}
"""What files that are no manifests begin with, whatever their names."""


class BadRow(Struct, frozen=True):
    """A line that names no object."""

    source: str
    line: int
    reason: str


class _InBucket(Struct, gc=False):
    bucket: str


_decode = msgspec.json.Decoder(Object).decode
_decode_bucket = msgspec.json.Decoder(_InBucket).decode


def read_manifest(path: Path, source: str, known: Collection[str] = ()) -> Iterator[Object | BadRow]:
    """Read a file by its ending: `.csv`, or `.jsonl` (also `.ndjson`); `source` is how the operator knows it.

    Rows of `known` buckets are passed over, which costs half as much.

    Raises:
        UsageError: if the file cannot be read, its ending is neither, or its beginning is that of another kind of file.

    """
    read = {".csv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines}.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{source}: a manifest's name ends in .csv or .jsonl; rename it, or convert it")
    try:
        with path.open("rb") as lines:
            _refuse_other_forms(lines, source)
            yield from read(lines, source, known)
    except OSError as error:
        raise UsageError(f"{source} cannot be read ({error.strerror}); check its path and permissions") from None


def _refuse_other_forms(file: BinaryIO, source: str) -> None:
    beginning = file.read(4)
    file.seek(0)
    for mark, advice in _OTHER_FORMS.items():
        if beginning.startswith(mark):
            raise UsageError(f"{source} {advice}")


def read_csv(lines: BinaryIO, source: str, known: Collection[str] = ()) -> Iterator[Object | BadRow]:
    """`bucket,key[,version_id[,etag,size_bytes[,duration_ms]]]`, one object a line.

    A first line that names `bucket` and `key` is a header: it tells the order of the columns, others are ignored.
    """
    columns: list[str] | None = None
    for number, line in numbered_lines(lines, source):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            fields = fields_of(line)
        except csv.Error as error:
            yield BadRow(source, number, f"is not CSV ({error}); a key with a line break needs JSON Lines")
            continue
        if columns is None and (columns := _header(fields)):
            continue
        columns = columns or list(_COLUMNS)
        if known and _named_bucket(fields, columns) in known:
            continue
        yield _from_fields(fields, columns, source, number)


def fields_of(line: str) -> list[str]:
    """A line's fields. One with no quotes, or with quotes around each field and nowhere else, is only split.

    A reader of CSV would do the same, at many times the cost.

    Raises:
        csv.Error: if it is not CSV.

    """
    if "\r" not in line:
        if '"' not in line:
            return line.split(",")
        fields = line[1:-1].split('","')
        if line.startswith('"') and line.endswith('"') and line.count('"') == 2 * len(fields):
            return fields
    return next(csv.reader([line], strict=True))


def _named_bucket(fields: list[str], columns: list[str]) -> str:
    place = columns.index("bucket")
    return fields[place] if place < len(fields) else ""


def _header(fields: list[str]) -> list[str] | None:
    names = [field.strip().lower() for field in fields]
    return names if {"bucket", "key"} <= set(names) else None


def read_json_lines(lines: BinaryIO, source: str, known: Collection[str] = ()) -> Iterator[Object | BadRow]:
    """One object a line, with the names of the CSV's columns; other names are ignored."""
    for number, line in numbered_lines(lines, source):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            if known and _decode_bucket(line).bucket in known:
                continue
            yield _object(_decode(line))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            yield BadRow(source, number, f"is no object's description: {error}")


def numbered_lines(lines: BinaryIO, source: str) -> Iterator[tuple[int, str | BadRow]]:
    """Numbered lines that are not empty, decoded; of one that is too long, only that it is."""
    number = 0
    while raw := lines.readline(LONGEST_LINE_BYTES):
        number += 1
        if len(raw) == LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
            while (rest := lines.readline(LONGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, BadRow(source, number, f"is longer than {LONGEST_LINE_BYTES} bytes")
            continue
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, BadRow(source, number, "is not UTF-8 text")
            continue
        if line.strip():
            yield number, line


def _from_fields(fields: list[str], columns: list[str], source: str, number: int) -> Object | BadRow:
    if not 2 <= len(fields) <= len(columns):
        return BadRow(source, number, f"is not {','.join(columns)}, of which bucket and key must be there")
    named = {name: field for name, field in zip(columns, fields, strict=False) if field}
    try:
        return _object(msgspec.convert(named, Object, strict=False))
    except (msgspec.ValidationError, ValueError) as error:
        return BadRow(source, number, f"is no object's description: {error}")


def _object(named: Object) -> Object:
    """What a row names; an empty version or ETag is none.

    Raises:
        ValueError: if there can be no such object, with the reason.

    """
    if reason := impossible(named):
        raise ValueError(reason)
    if named.version_id == "" or named.etag == "":
        return structs.replace(named, version_id=named.version_id or None, etag=named.etag or None)
    return named


def impossible(named: Object) -> str | None:
    """Why S3 has no such object, or PostgreSQL cannot keep its name; None if it may be there.

    A key is only text: control characters, formulas and dots in it are as good as letters.
    """
    if not _is_bucket(named.bucket):
        return f"{named.bucket[:_LONGEST_QUOTE]!r} is no name of a bucket"
    if not 0 <= (named.size_bytes or 0) <= LARGEST_NUMBER:
        return "its size is none that an object can have"
    return _impossible_text(named)


@lru_cache(maxsize=1_000)  # a source names few
def _is_bucket(name: str) -> bool:
    return _BUCKET.fullmatch(name) is not None


def _impossible_text(named: Object) -> str | None:
    texts = (named.key, named.version_id or "", named.etag or "")
    text = "".join(texts)
    if "\x00" in text:
        return "it holds a NUL character"
    if named.key and text.isascii() and len(text) <= _LONGEST_BYTES:  # as nearly all are
        return None
    try:
        key_bytes, *others_bytes = (len(text.encode()) for text in texts)
    except UnicodeEncodeError:
        return "it holds half of a character"
    if not 1 <= key_bytes <= _LONGEST_BYTES:
        return f"the key has {key_bytes:,} bytes, not 1 to {_LONGEST_BYTES:,}"
    if max(others_bytes) > _LONGEST_BYTES:
        return f"its version or ETag has more than {_LONGEST_BYTES:,} bytes"
    return None

"""Manifests of objects, CSV or JSON Lines, read a line at a time; a bad line is told with its number and skipped."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct

from worker.errors import UsageError
from worker.model import Object

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

_LARGEST_NUMBER = 2**62
_Number = Annotated[int, Meta(ge=0, le=_LARGEST_NUMBER)]


class BadRow(Struct, frozen=True):
    """A line that names no object."""

    source: str
    line: int
    reason: str


class _Row(Struct, frozen=True):
    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: _Number | None = None
    duration_ms: _Number | None = None


_decode = msgspec.json.Decoder(_Row).decode


def read_manifest(path: Path, source: str) -> Iterator[Object | BadRow]:
    """Read a file by its ending: `.csv`, or `.jsonl` (also `.ndjson`); `source` is how the operator knows it.

    Raises:
        UsageError: if the file cannot be read, its ending is neither, or its beginning is that of another kind of file.

    """
    read = {".csv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines}.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{source}: a manifest's name ends in .csv or .jsonl; rename it, or convert it")
    try:
        with path.open("rb") as lines:
            _refuse_other_forms(lines, source)
            yield from read(lines, source)
    except OSError as error:
        raise UsageError(f"{source} cannot be read ({error.strerror}); check its path and permissions") from None


def _refuse_other_forms(file: BinaryIO, source: str) -> None:
    beginning = file.read(4)
    file.seek(0)
    for mark, advice in _OTHER_FORMS.items():
        if beginning.startswith(mark):
            raise UsageError(f"{source} {advice}")


def read_csv(lines: BinaryIO, source: str) -> Iterator[Object | BadRow]:
    """`bucket,key[,version_id[,etag,size_bytes[,duration_ms]]]`, one object a line.

    A first line that names `bucket` and `key` is a header: it tells the order of the columns, others are ignored.
    """
    columns: list[str] | None = None
    for number, line in _lines(lines, source):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            fields = next(csv.reader([line], strict=True))
        except csv.Error as error:
            yield BadRow(source, number, f"is not CSV ({error}); a key with a line break needs JSON Lines")
            continue
        if columns is None and (columns := _header(fields)):
            continue
        columns = columns or list(_COLUMNS)
        yield _from_fields(fields, columns, source, number)


def _header(fields: list[str]) -> list[str] | None:
    names = [field.strip().lower() for field in fields]
    return names if {"bucket", "key"} <= set(names) else None


def read_json_lines(lines: BinaryIO, source: str) -> Iterator[Object | BadRow]:
    """One object a line, with the names of the CSV's columns; other names are ignored."""
    for number, line in _lines(lines, source):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            yield _object(_decode(line))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            yield BadRow(source, number, f"is no object's description: {error}")


def _lines(lines: BinaryIO, source: str) -> Iterator[tuple[int, str | BadRow]]:
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
    named = {name: field for name, field in zip(columns, fields, strict=False) if field and name in _COLUMNS}
    try:
        return _object(msgspec.convert(named, _Row, strict=False))
    except (msgspec.ValidationError, ValueError) as error:
        return BadRow(source, number, f"is no object's description: {error}")


def _object(row: _Row) -> Object:
    """What a row names.

    Raises:
        ValueError: if there can be no such object, with the reason.

    """
    named = Object(row.bucket, row.key, row.version_id or None, row.etag or None, row.size_bytes, row.duration_ms)
    if reason := impossible(named):
        raise ValueError(reason)
    return named


def impossible(named: Object) -> str | None:
    """Why S3 has no such object, or PostgreSQL cannot keep its name; None if it may be there.

    A key is only text: control characters, formulas and dots in it are as good as letters.
    """
    if not _BUCKET.fullmatch(named.bucket):
        return f"{named.bucket[:_LONGEST_QUOTE]!r} is no name of a bucket"
    if not 0 <= (named.size_bytes or 0) <= _LARGEST_NUMBER:
        return "its size is none that an object can have"
    return _impossible_text(named)


def _impossible_text(named: Object) -> str | None:
    try:
        lengths = [len((text or "").encode()) for text in (named.key, named.version_id, named.etag)]
    except UnicodeEncodeError:
        return "it holds half of a character"
    if not 1 <= lengths[0] <= _LONGEST_BYTES:
        return f"the key has {lengths[0]:,} bytes, not 1 to {_LONGEST_BYTES:,}"
    if max(lengths[1:]) > _LONGEST_BYTES:
        return f"its version or ETag has more than {_LONGEST_BYTES:,} bytes"
    if any("\x00" in text for text in (named.key, named.version_id or "", named.etag or "")):
        return "it holds a NUL character"
    return None

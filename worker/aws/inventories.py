"""S3 Inventory: what a manifest.json says, and the objects that its data files name.

Source: AmazonS3/latest/userguide/storage-inventory.html and storage-inventory-location.html.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from csv import Error as CsvError
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_plus

import msgspec
from msgspec import Struct

from worker.aws.manifests import BadRow, fields_of, impossible, numbered_lines
from worker.errors import UsageError
from worker.model import ListedObject, Object

LARGEST_MANIFEST_BYTES = 64 << 20  # some hundred thousand data files
COLUMNS = ("bucket", "key", "size", "is_latest", "is_delete_marker", "last_modified_date", "storage_class")
"""What is read of a row, by its name in Parquet and ORC; whatever a file lacks is None."""
_IN_CSV = {
    "Bucket": "bucket",
    "Key": "key",
    "Size": "size",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "LastModifiedDate": "last_modified_date",
    "StorageClass": "storage_class",
}
_WORD = re.compile(r"\w+", re.ASCII)
_TRUTHS = {"": None, "true": True, "false": False}

Row = tuple[str | None, str | None, int | None, bool | None, bool | None, datetime | None, str | None]
"""Values of `COLUMNS`."""
Reader = Callable[[Path, str], Iterator[Row | BadRow]]
"""Gives every row of a file; the text is how the operator knows it."""


class DataFile(Struct, frozen=True, rename={"size_bytes": "size", "md5": "MD5checksum"}):
    """One of the files that hold an inventory's rows."""

    key: str
    size_bytes: int
    md5: str = ""


class InventoryManifest(
    Struct, frozen=True, rename={"bucket": "sourceBucket", "format": "fileFormat", "schema": "fileSchema"}
):
    """A manifest.json: the bucket that was looked at, and where the rows are."""

    bucket: str
    format: Literal["CSV", "Parquet", "ORC"]
    schema: str
    files: list[DataFile]

    @property
    def columns(self) -> list[str]:
        """The columns of the data files, by their names in Parquet and ORC; there with other words between them."""
        return [_IN_CSV.get(word, word) for word in _WORD.findall(self.schema)]


def decode_manifest(content: bytes, source: str) -> InventoryManifest:
    """Read a manifest.json.

    Raises:
        UsageError: if it is none, or tells no bucket and key.

    """
    try:
        manifest = msgspec.json.decode(content, type=InventoryManifest)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{source} is no manifest of S3 Inventory ({error}); name its manifest.json") from None
    if manifest.format == "CSV" and not {"bucket", "key"} <= set(manifest.columns):
        raise UsageError(f"{source} has no Bucket and Key in its fileSchema ({manifest.schema[:200]})")
    return manifest


def objects_in(path: Path, manifest: InventoryManifest, source: str) -> Iterator[Object | BadRow]:
    """The objects that a data file names: neither older versions nor what was deleted, and no markers of folders.

    They are named without their versions, as a listing names them. `source` is how the operator knows the file.

    Raises:
        UsageError: if it is no such file.

    """
    for number, row in enumerate(reader_of(manifest)(path, source), start=1):
        if isinstance(row, BadRow):
            yield row
            continue
        bucket, key, size_bytes, is_latest, is_delete_marker, modified_at, storage_class = row
        if is_latest is False or is_delete_marker or (key or "").endswith("/"):
            continue
        if bucket != manifest.bucket:
            yield BadRow(source, number, f"names the bucket {str(bucket)[:60]!r}, the manifest {manifest.bucket!r}")
            continue
        named = ListedObject(
            bucket, key or "", size_bytes=size_bytes, modified_at=modified_at, storage_class=storage_class or None
        )
        reason = impossible(named)
        yield BadRow(source, number, reason) if reason else named


def reader_of(manifest: InventoryManifest) -> Reader:
    """What reads the manifest's data files.

    Raises:
        UsageError: if the package that it needs is not installed.

    """
    if manifest.format == "CSV":
        return partial(_csv_rows, manifest.columns)
    from worker.aws.columnar import rows  # noqa: PLC0415 (pyarrow is an extra)

    return partial(rows, manifest.format)


def _csv_rows(columns: list[str], path: Path, source: str) -> Iterator[Row | BadRow]:
    """Rows of a compressed CSV file, in which keys are percent-encoded and a space is a plus sign."""
    places = [columns.index(name) if name in columns else None for name in COLUMNS]
    try:
        with io.BufferedReader(gzip.open(path, "rb")) as lines:
            for number, line in numbered_lines(lines, source):
                yield line if isinstance(line, BadRow) else _csv_row(line, places, source, number)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UsageError(f"{source} is no gzip file, or not all of one") from None


def _csv_row(line: str, places: list[int | None], source: str, number: int) -> Row | BadRow:
    try:
        fields = fields_of(line)
        bucket, key, size, is_latest, is_delete_marker, modified_at, storage_class = (
            "" if place is None else fields[place] for place in places
        )
        return (
            bucket,
            unquote_plus(key, errors="strict") if "%" in key or "+" in key else key,
            int(size) if size else None,
            _TRUTHS[is_latest.lower()],
            _TRUTHS[is_delete_marker.lower()],
            _moment(modified_at) if modified_at else None,
            storage_class,
        )
    except (CsvError, IndexError, KeyError, ValueError) as error:
        return BadRow(source, number, f"is no row of an inventory: {type(error).__name__} {error}")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

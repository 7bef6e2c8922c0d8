"""Inventories as S3 writes them: a manifest.json beside data files of CSV, Parquet or ORC."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote_plus

import pyarrow as pa
from msgspec import Struct, json, structs
from pyarrow import orc, parquet

FORMATS = {"CSV": "csv.gz", "Parquet": "parquet", "ORC": "orc"}
"""Format, as a manifest names it -> how the names of its data files end."""
MANIFEST = "manifest.json"


class Line(Struct, frozen=True):
    """A row of an inventory of all versions, with the fields that people choose most."""

    bucket: str
    key: str
    version_id: str = "v1"
    is_latest: bool = True
    is_delete_marker: bool = False
    size: int | None = 1000
    last_modified_date: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    e_tag: str = "0123"
    storage_class: str = "STANDARD"


COLUMNS = Line.__struct_fields__
SCHEMAS = {
    "CSV": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass",
    "Parquet": f"message s3.inventory {{ {' '.join(f'optional binary {name} (STRING);' for name in COLUMNS)} }}",
    "ORC": f"struct<{','.join(f'{name}:string' for name in COLUMNS)}>",
}
_TYPES = {"is_latest": pa.bool_(), "is_delete_marker": pa.bool_(), "size": pa.int64()}


def write_inventory(
    folder: Path, file_format: str, lines: Iterable[Line], *, bucket: str, lines_a_file: int = 1_000_000
) -> Path:
    """Write an inventory into a folder, whose path is the prefix of its keys; returns the path of its manifest."""
    (folder / "data").mkdir(parents=True)
    rest = iter(lines)
    files: list[dict[str, Any]] = []
    while some := list(islice(rest, lines_a_file)):
        content = content_of(file_format, some)
        key = f"data/{len(files)}.{FORMATS[file_format]}"
        (folder / key).write_bytes(content)
        files.append({"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()})  # noqa: S324 (it is what S3 tells)
    manifest = {
        "sourceBucket": bucket,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1794960000000",
        "fileFormat": file_format,
        "fileSchema": SCHEMAS[file_format],
        "files": files,
    }
    (folder / MANIFEST).write_bytes(json.encode(manifest))
    return folder / MANIFEST


def content_of(file_format: str, lines: Sequence[Line]) -> bytes:
    """A data file."""
    file = io.BytesIO()
    if file_format == "CSV":
        with gzip.open(file, "wt", encoding="utf-8", compresslevel=3) as text:
            text.writelines(map(csv_line, lines))
    else:
        _write_table(file, file_format, lines)
    return file.getvalue()


def csv_line(line: Line) -> str:
    """All fields in quotes, the key percent-encoded with a plus sign for a space."""
    fields = structs.asdict(line) | {
        "key": quote_plus(line.key, safe="/", errors="surrogateescape"),
        "is_latest": str(line.is_latest).lower(),
        "is_delete_marker": str(line.is_delete_marker).lower(),
        "size": "" if line.size is None else line.size,
        "last_modified_date": f"{line.last_modified_date:%Y-%m-%dT%H:%M:%S.000Z}",
    }
    return ",".join(f'"{field}"' for field in fields.values()) + "\n"


def _write_table(file: BinaryIO, file_format: str, lines: Sequence[Line]) -> None:
    moment = pa.timestamp("ms", "UTC" if file_format == "Parquet" else None)
    types = _TYPES | {"last_modified_date": moment}
    columns = {
        name: pa.array([getattr(line, name) for line in lines], types.get(name, pa.string())) for name in COLUMNS
    }
    write = parquet.write_table if file_format == "Parquet" else orc.write_table
    write(pa.table(columns), file, compression="snappy" if file_format == "Parquet" else "zlib")

"""Rows of an inventory's Parquet and ORC files, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from worker.arrow import ParquetFile, dataset, pa
from worker.aws.inventories import COLUMNS, Row
from worker.errors import UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 10_000
BUFFER_BYTES = 1 << 20  # of a column: without it all that a group of rows has of it is read at once

_NO_READ_AHEAD = {"batch_readahead": 0, "fragment_readahead": 0, "use_threads": False}  # or whole stripes are held
_MOMENT = pa.timestamp("ms")
_TYPES = {
    "bucket": pa.string(),
    "key": pa.string(),
    "size": pa.int64(),
    "is_latest": pa.bool_(),
    "is_delete_marker": pa.bool_(),
    "last_modified_date": _MOMENT,
    "storage_class": pa.string(),
}


def rows(file_format: str, path: Path, source: str) -> Iterator[Row]:
    """Values of `COLUMNS`.

    Raises:
        UsageError: if it is no such file, or has no bucket and key.

    """
    try:
        for batch in _batches(path, file_format, source):
            yield from zip(*(_values(batch, name) for name in COLUMNS), strict=True)
    except (pa.ArrowException, OSError) as error:
        said = str(error).partition("\n")[0][:200]
        raise UsageError(f"{source} cannot be read as {file_format} ({said})") from None


def _batches(path: Path, file_format: str, source: str) -> Iterator[pa.RecordBatch]:
    if file_format == "Parquet":
        file = ParquetFile(path, buffer_size=BUFFER_BYTES)
        yield from file.iter_batches(ROWS_AT_ONCE, columns=_known(file.schema_arrow.names, source))
    else:
        file = dataset.dataset(path, format="orc")
        yield from file.to_batches(columns=_known(file.schema.names, source), batch_size=ROWS_AT_ONCE, **_NO_READ_AHEAD)


def _known(names: list[str], source: str) -> list[str]:
    """Those of the columns that a file has."""
    if not {"bucket", "key"} <= set(names):
        raise UsageError(f"{source} has no columns bucket and key")
    return [name for name in COLUMNS if name in names]


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    values = batch.column(name).cast(_TYPES[name], safe=name != "last_modified_date")  # of it ORC has nanoseconds
    if values.type == _MOMENT:
        return [
            None if ms is None else EPOCH + timedelta(milliseconds=ms) for ms in values.cast(pa.int64()).to_pylist()
        ]
    return list(values.to_pylist())

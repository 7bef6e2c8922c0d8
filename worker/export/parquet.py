"""Rows of labels as Parquet: columns compressed by zstd, in groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from msgspec import json

from worker.arrow import ParquetWriter, pa
from worker.store.exports import COLUMNS, Rows

ROWS_A_GROUP = 131_072  # the least that readers advise, and some 30 MB of memory here

_TYPES = {
    "timestamp_ms": pa.int32(),
    "start_ms": pa.int32(),
    "end_ms": pa.int32(),
    "taxonomy_level": pa.int32(),
    "confidence": pa.float64(),
    "content_types": pa.list_(pa.struct([("Name", pa.string()), ("Confidence", pa.float64())])),
}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
"""Content types are a list of records, so that queries take them apart without a parser of JSON."""

_CONTENT_TYPES = COLUMNS.index("content_types")
_NONE = "[]"
_decode = json.Decoder().decode


@contextmanager
def parquet(file: BinaryIO) -> Iterator[Callable[[Rows], None]]:
    """A file of Parquet; it is none before it is left."""
    waiting: list[pa.RecordBatch] = []

    def write(rows: Rows) -> None:
        waiting.append(_batch(rows))
        if sum(batch.num_rows for batch in waiting) >= ROWS_A_GROUP:
            write_group()

    def write_group() -> None:
        writer.write_table(pa.Table.from_batches(waiting, SCHEMA), row_group_size=2 * ROWS_A_GROUP)
        waiting.clear()

    with ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        yield write
        if waiting:
            write_group()


def _batch(rows: Rows) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    columns[_CONTENT_TYPES] = tuple(_decode(text) if text != _NONE else [] for text in columns[_CONTENT_TYPES])
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

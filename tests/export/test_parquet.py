"""Parquet files: their types, their groups of rows, and the queries that the documentation shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.export.rows import ROWS, Row, row
from worker.export.parquet import ROWS_A_GROUP, SCHEMA, parquet
from worker.store.exports import COLUMNS

ROOT = Path(__file__).parents[2]
LABELS_PAGE = ROOT / "docs" / "labels.md"
TYPES = {
    "int32": ("timestamp_ms", "start_ms", "end_ms", "taxonomy_level"),
    "double": ("confidence",),
    "list<element: struct<Name: string, Confidence: double>>": ("content_types",),
}
ATHENA = {
    "int32": "int",
    "list<item: struct<Name: string, Confidence: double>>": "array<struct<name: string, confidence: double>>",
}
"""What Athena calls types, where it has other words."""


def written(path: Path, *batches: Sequence[Row]) -> Path:
    """A file of Parquet."""
    with path.open("wb") as file, parquet(file) as write:
        for batch in batches:
            write(batch)
    return path


def test_rows_are_read_as_they_were_meant(tmp_path: Path):
    """Times, what is not known, odd texts and lists of content types."""
    found = pq.read_table(written(tmp_path / "a.parquet", ROWS[:1], ROWS[1:])).to_pylist()
    expected = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert found == [row | {"content_types": json.loads(row["content_types"])} for row in expected]


def test_columns_have_the_types_of_the_view(tmp_path: Path):
    """Whole numbers of 32 bits, doubles, texts, and a list of records."""
    schema = pq.read_schema(written(tmp_path / "a.parquet"))
    types = {name: kind for kind, names in TYPES.items() for name in names}
    assert [(field.name, str(field.type)) for field in schema] == [
        (name, types.get(name, "string")) for name in COLUMNS
    ]


def test_rows_are_written_in_groups(tmp_path: Path):
    """As large as readers like them, compressed by zstd; the last group has what is left."""
    batch = [row(timestamp_ms=n) for n in range(5_000)]
    batches = -(-ROWS_A_GROUP // len(batch)) * 2 + 1
    file = pq.ParquetFile(written(tmp_path / "a.parquet", *[batch] * batches))
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert len(groups) == 3
    assert all(ROWS_A_GROUP <= group.num_rows < ROWS_A_GROUP + len(batch) for group in groups[:-1])
    assert sum(group.num_rows for group in groups) == batches * len(batch)
    assert {group.column(n).compression for group in groups for n in range(len(COLUMNS))} == {"ZSTD"}


def test_number_beyond_its_column_is_no_other_number(tmp_path: Path):
    """None that does not fit is cut off."""
    with pytest.raises(pa.ArrowInvalid, match="too large"):
        written(tmp_path / "a.parquet", [row(timestamp_ms=2**31)])


def test_queries_of_the_documentation_give_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """DuckDB runs each of them over an export."""
    monkeypatch.chdir(tmp_path)
    queries = re.findall(r"```sql duckdb\n(.*?)```", LABELS_PAGE.read_text(), re.DOTALL)
    weapons = [row(key="b.mp4", name="Weapons", confidence=c, timestamp_ms=int(c)) for c in (81.0, 99.0, 70.0)]
    written(tmp_path / "films.parquet", ROWS, weapons)
    by_label, by_video, animated = (duckdb.sql(query).fetchall() for query in queries)
    assert ("Weapons", 3, 1) in by_label
    assert by_video == [("archive", "b.mp4", 99.0, 81)]
    assert animated == [("archive", "a.mp4", 1)]


def test_athena_is_told_of_the_columns_that_there_are():
    """The table of the documentation has the schema's names and types, as Athena writes them."""
    _, _, table = LABELS_PAGE.read_text().partition("create external table moderation_labels (")
    columns = re.findall(r"(\w+) (string|int|double|array<struct<.*?>>)", table.partition("stored as")[0])
    assert columns == [(field.name, ATHENA.get(str(field.type), str(field.type))) for field in SCHEMA]


def test_memory_is_the_systems():
    """A pool of pyarrow's own would keep what it once held."""
    asked = "from worker.arrow import pa; print(pa.default_memory_pool().backend_name)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "system\n"

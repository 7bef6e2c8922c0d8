"""What is written can be read again, by other programs' readers, with nothing lost and nothing run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.export.rows import ROWS, Row, row
from tests.system.hostile_inputs import ODD_KEYS
from worker.errors import UsageError
from worker.export.formats import QUOTE, FormatName, format_of, writer_of
from worker.store.exports import COLUMNS

STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
STARTS_A_FORMULA = tuple("=+-@\t\r\n")


def written(name: FormatName, *batches: Sequence[Row]) -> bytes:
    """A file of that format."""
    file = io.BytesIO()
    with writer_of(name)(file) as write:
        for batch in batches:
            write(batch)
    return file.getvalue()


def cells(content: bytes) -> list[list[str]]:
    """A CSV file's cells as a spreadsheet has them."""
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


def meant(cell: str) -> str:
    """The text that a cell stands for."""
    return cell.removeprefix(QUOTE)


def as_text(value: Any) -> str:
    return "" if value is None else str(value)


def test_csv_has_a_header_and_a_line_a_label():
    """What is not known is empty, numbers are whole, quoting is that of RFC 4180."""
    content = written("csv", ROWS[:2], ROWS[2:])
    header, *lines = cells(content)
    assert header == list(COLUMNS)
    assert [list(map(meant, line)) for line in lines] == [list(map(as_text, row)) for row in ROWS]
    assert [float(line[11]) for line in lines] == [row[11] for row in ROWS]
    assert content.count(b"\r\n") == 1 + len(ROWS)


@given(STORABLE, STORABLE, STORABLE)
def test_no_text_in_csv_is_a_formula_and_none_is_lost(key: str, name: str, backfill: str):
    """Whatever objects and labels are called, no cell begins as a formula does; each text is had by one quote less."""
    made = row(key=key, name=name, backfill=backfill)
    _, line = cells(written("csv", [made]))
    assert not any(cell.startswith(STARTS_A_FORMULA) for cell in line)
    assert [meant(cell) for cell in line] == list(map(as_text, made))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_survive_in_every_text(key: str):
    """Formulas, control characters and markup, in CSV behind a quote where they need it, in JSON as they are."""
    assert meant(cells(written("csv", [row(key=key)]))[1][2]) == key
    assert json.loads(written("jsonl", [row(key=key)]))["key"] == key


def test_json_lines_hold_an_object_a_label():
    """With the columns' names; what is not known is null, content types are a list."""
    lines = written("jsonl", ROWS[:1], ROWS[1:]).decode().split("\n")
    assert lines.pop() == ""
    for line, expected in zip(lines, ROWS, strict=True):
        found = json.loads(line)
        assert list(found) == list(COLUMNS)
        assert (*list(found.values())[:12], found["model_version"]) == (*expected[:12], expected[13])
        assert found["content_types"] == json.loads(expected[12])


def test_file_without_labels_is_whole_too():
    """CSV has its header, JSON Lines nothing."""
    assert cells(written("csv")) == [list(COLUMNS)]
    assert written("jsonl") == b""


def test_format_is_told_by_the_names_end():
    """In upper or lower case; others are refused with those that there are."""
    assert [format_of(name) for name in ("a.parquet", "b.CSV", "c.jsonl", "d.ndjson")] == [
        *("parquet", "csv", "jsonl", "jsonl")
    ]
    for name in ("films", "films.json", ".csv", "films.parquet.gz"):
        with pytest.raises(UsageError, match=r"a name ends in \.parquet, \.csv or \.jsonl"):
            format_of(name)

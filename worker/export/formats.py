"""Rows of labels as the text that programs and spreadsheets read: CSV and JSON Lines. Parquet has a file of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePath
from typing import Any, BinaryIO, Literal

from msgspec import Raw, json

from worker.errors import UsageError
from worker.store.exports import COLUMNS, Rows

FormatName = Literal["parquet", "csv", "jsonl"]
Write = Callable[[Rows], None]
Writer = Callable[[BinaryIO], AbstractContextManager[Write]]
"""Opens a file for rows of `COLUMNS`; what has to stand at its end is written when it is left."""

QUOTE = "'"
"""In CSV it stands before a text that spreadsheets would take for a formula, and before one that begins with it. So
nobody who names an object can have anything run, and the text that was meant is had by leaving one such quote out."""
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", QUOTE)


def format_of(name: str) -> FormatName:
    """The format that a file's name ends with.

    Raises:
        UsageError: if it ends with none.

    """
    match PurePath(name).suffix.lower():
        case ".parquet":
            return "parquet"
        case ".csv":
            return "csv"
        case ".jsonl" | ".ndjson":
            return "jsonl"
        case _:
            raise UsageError(f"{name}: a name ends in .parquet, .csv or .jsonl; or say what it is to be with --format")


def writer_of(name: FormatName) -> Writer:
    """How files of a format are written.

    Raises:
        UsageError: if the package that it needs is not installed.

    """
    if name == "parquet":
        from worker.export.parquet import parquet  # noqa: PLC0415 (pyarrow is an extra)

        return parquet
    return _csv if name == "csv" else _json_lines


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Write]:
    """RFC 4180 with a header; what is not known is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)

    def write(rows: Rows) -> None:
        writer.writerows(map(_guarded, rows))

    writer.writerow(COLUMNS)
    yield write
    text.detach()


def _guarded(row: Iterable[Any]) -> list[Any]:
    return [QUOTE + cell if isinstance(cell, str) and cell.startswith(_GUARDED) else cell for cell in row]


@contextmanager
def _json_lines(file: BinaryIO) -> Iterator[Write]:
    """An object a line, with the names of the columns; what is not known is null."""
    encoder = json.Encoder()

    def write(rows: Rows) -> None:
        file.write(encoder.encode_lines(map(_named, rows)))

    yield write


def _named(row: Iterable[Any]) -> dict[str, Any]:
    named = dict(zip(COLUMNS, row, strict=True))
    return named | {"content_types": Raw(named["content_types"].encode())}

"""Detections as COPY takes them in its binary format: packed a row at a time, where asyncpg would encode each value.

Source: PostgreSQL's manual, COPY, "Binary Format". A field is its length and its value, NULL the length -1 alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from msgspec import json

from worker.model import ContentType, Detection

COLUMNS = ("job_id", "confidence", "timestamp_ms", "label_id", "start_ms", "end_ms", "content_types")

LabelKey = tuple[str, str, int | None]

_FILE_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_FILE_TAIL = b"\xff\xff"
_JSONB = b"\x01"  # the version of its binary form, which is text
_NULL = struct.pack("!i", -1)
_head = struct.Struct("!hiqi").pack  # of a row: how many columns, the first, the length of the second
_seen = struct.Struct("!18sdii14s").pack  # the head, confidence, a time, and what is the same for each of its label
_double = struct.Struct("!d").pack
_integer = struct.Struct("!ii").pack
_smallint = struct.Struct("!ih").pack
_length = struct.Struct("!i").pack
_encode = json.Encoder().encode


def tails_of(label_ids: Mapping[LabelKey, int]) -> dict[LabelKey, bytes]:
    """What is the same for each row of a label: its number, and no beginning and end."""
    return {key: _smallint(2, label_id) + _NULL + _NULL for key, label_id in label_ids.items()}


def rows_of(job_id: int, detections: Iterable[Detection], tails: Mapping[LabelKey, bytes]) -> bytearray:
    """A job's detections as rows, with what `tails_of` gives for their labels.

    Raises:
        KeyError: for a label that has no number.
        ValueError: for a time or number beyond its column.

    """
    head = _head(len(COLUMNS), 8, job_id, 8)
    rows = bytearray()
    try:
        for d in detections:
            label = d.label
            tail = tails[label.name, label.parent_name, label.taxonomy_level]
            if d.start_ms is None and d.end_ms is None and d.timestamp_ms is not None:
                rows += _seen(head, label.confidence, 4, d.timestamp_ms, tail)
            else:
                rows += head + _double(label.confidence) + _time(d.timestamp_ms) + tail[:6]
                rows += _time(d.start_ms) + _time(d.end_ms)
            rows += _kinds(d.content_types) if d.content_types else _NULL
    except struct.error as error:
        raise ValueError(f"not storable: {error}") from None
    return rows


def copied(rows: Iterable[bytearray]) -> bytearray:
    """What COPY is sent."""
    return bytearray().join([_FILE_HEAD, *rows, _FILE_TAIL])


def _time(milliseconds: int | None) -> bytes:
    return _NULL if milliseconds is None else _integer(4, milliseconds)


def _kinds(kinds: Sequence[ContentType]) -> bytes:
    text = _JSONB + _encode(kinds)
    return _length(len(text)) + text

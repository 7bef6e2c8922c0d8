"""Rows of labels as the store gives them."""

from __future__ import annotations

from typing import Any

from worker.store.exports import COLUMNS

ANIMATED = '[{"Name": "Animated", "Confidence": 80.25}, {"Name": "\N{PISTOL}", "Confidence": 7}]'

Row = tuple[Any, ...]


def row(**changes: Any) -> Row:
    """A label with a content type, with some of its columns changed."""
    usual = ("films", "archive", "a.mp4", "v1", "1f", 0, None, None, "Gore", "Violence", 2, 99.5, "[]", "7.0")
    return tuple((dict(zip(COLUMNS, usual, strict=True)) | changes).values())


ROWS = [
    row(),
    row(timestamp_ms=None, start_ms=0, end_ms=2**31 - 1, content_types=ANIMATED),
    row(version_id=None, taxonomy_level=None, parent_name="", model_version=None, confidence=0.1 + 0.2),
    row(key='say "hi", 東京\n\u2028 \N{PISTOL}.mp4', name="Über; all"),
]

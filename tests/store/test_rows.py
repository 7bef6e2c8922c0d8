"""Rows in COPY's binary format are the rows that were meant."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from msgspec import json
from msgspec.structs import replace

from worker.model import ContentType, Detection, Label
from worker.store.database import Database
from worker.store.rows import COLUMNS, copied, rows_of, tails_of

LABELS = (Label("Weapons", 50.5), Label("Waffen \N{PISTOL}", 99.99999237060547, "Violence", 2))
NUMBERS = {("Weapons", "", None): 1, ("Waffen \N{PISTOL}", "Violence", 2): 2**15 - 1}
TIMES = (None, 0, 2**31 - 1)
KINDS = (None, (), (ContentType('"Ani\\mated"', 0.1), ContentType("\N{PISTOL}", 100.0)))
SHAPES = [
    Detection(*shape) for shape in product(LABELS, TIMES, TIMES, TIMES, KINDS)
]  # more than AWS documents: a page may hold any of them


async def test_every_shape_of_a_detection_arrives(database: Database):
    """Times of every kind, none of them, with kinds of content and without, of two jobs."""
    job_ids = (1, 2**62)
    rows = [rows_of(job_id, SHAPES, tails_of(NUMBERS)) for job_id in job_ids]
    await database.pool.copy_to_table("detection", source=copied(rows), columns=COLUMNS, format="binary")  # type: ignore[arg-type]
    found = [
        (*row[:-1], row[-1] and json.decode(row[-1], type=tuple[ContentType, ...]))
        for row in await database.pool.fetch(f"select {', '.join(COLUMNS)} from detection")
    ]
    assert Counter(found) == Counter(
        (
            *(job_id, d.label.confidence, d.timestamp_ms),
            NUMBERS[d.label.name, d.label.parent_name, d.label.taxonomy_level],
            *(d.start_ms, d.end_ms, d.content_types or None),
        )
        for job_id in job_ids
        for d in SHAPES
    )


@pytest.mark.parametrize("column", ["timestamp_ms", "start_ms", "end_ms"])
def test_number_beyond_its_column_is_refused(column: str):
    """No time is cut off to fit."""
    with pytest.raises(ValueError, match="not storable"):
        rows_of(1, [replace(SHAPES[0], **{column: 2**31})], tails_of(NUMBERS))


def test_label_without_a_number_is_named():
    """Whoever asked for too few learns which one is missing."""
    with pytest.raises(KeyError, match="Waffen"):
        rows_of(1, SHAPES, tails_of({("Weapons", "", None): 1}))

"""What a video may be expected to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.flow.estimate import LONGEST_MINUTES, expected_usd
from worker.model import Backfill

BACKFILL = Backfill(
    id=1,
    name="archive",
    priority=0,
    min_confidence=50.0,
    edition="",
    aggregate_by="TIMESTAMPS",
    price_usd_per_minute=0.10,
    expected_minutes_per_gb=20.0,
    budget_usd=None,
    is_strict=False,
    max_generations=2,
)


@pytest.mark.parametrize(
    ("size_bytes", "duration_ms", "learned", "usd"),
    [
        (5_000_000_000, 90_000, 7.0, 0.15),  # a known duration counts as it is
        (2_000_000_000, None, 7.0, 1.4),  # else the size, as learned
        (2_000_000_000, None, None, 4.0),  # else the size, as configured
        (None, None, None, 2.0),  # else a gigabyte
        (0, None, None, 0.0),
        (10_000_000_000_000, None, None, LONGEST_MINUTES * 0.10),  # no video is longer than AWS takes
    ],
)
def test_best_knowledge_counts(size_bytes: int | None, duration_ms: int | None, learned: float | None, usd: float):
    """Duration goes before size, what was learned before what was configured."""
    expected = expected_usd(BACKFILL, size_bytes=size_bytes, duration_ms=duration_ms, learned_minutes_per_gb=learned)
    assert expected == pytest.approx(usd)


@given(
    size_bytes=st.none() | st.integers(0, 10**14),
    duration_ms=st.none() | st.integers(0, 6 * 3_600_000),
    learned=st.none() | st.floats(0.01, 1000),
)
def test_strict_budget_reserves_the_worst_case(size_bytes: int | None, duration_ms: int | None, learned: float | None):
    """Under a strict budget no video that AWS takes can cost more than was reserved."""
    knowledge = {"size_bytes": size_bytes, "duration_ms": duration_ms, "learned_minutes_per_gb": learned}
    strict = expected_usd(replace(BACKFILL, is_strict=True), **knowledge)
    assert strict == pytest.approx(LONGEST_MINUTES * 0.10)
    assert expected_usd(BACKFILL, **knowledge) <= strict

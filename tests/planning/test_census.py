"""Videos are counted by what is known of their length, in bounded memory, and nothing of their sums is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.planning.census import CLASSES_AN_OCTAVE, Census

VIDEOS = st.lists(st.tuples(st.none() | st.integers(0, 10**13), st.none() | st.integers(0, 10**8)), max_size=200)


def census_of(videos: list[tuple[int | None, int | None]]) -> Census:
    census = Census()
    for size_bytes, duration_ms in videos:
        census.count(size_bytes=size_bytes, duration_ms=duration_ms)
    return census


def test_duration_counts_before_size():
    """A video whose duration is known needs no size; one of which nothing is known is counted as such."""
    census = census_of([(5, 60_000), (7, None), (None, None), (None, 0)])
    assert (census.of("duration_ms").videos, census.of("duration_ms").total) == (2, 60_000)
    assert (census.of("size_bytes").videos, census.of("size_bytes").total) == (1, 7)
    assert census.of("nothing").videos == 1
    assert census.videos == 4


@given(VIDEOS)
def test_sums_are_exact(videos):
    """Counts and sums are those of the videos, whatever their lots."""
    census = census_of(videos)
    assert census.videos == len(videos)
    assert census.of("duration_ms").total == sum(ms for _, ms in videos if ms is not None)
    assert census.of("size_bytes").total == sum(size for size, ms in videos if ms is None and size is not None)


@given(VIDEOS)
def test_parts_add_up_to_the_whole(videos):
    """The censuses of two halves, put together, have the same lots as that of all."""
    whole, first, second = census_of(videos), census_of(videos[::2]), census_of(videos[1::2])
    first.include(second)
    assert first.videos == whole.videos
    for known in ("duration_ms", "size_bytes"):
        assert first.of(known) == whole.of(known)


def test_memory_does_not_grow_with_the_archive():
    """Sizes up to ten gigabytes lie in at most eight lots an octave, each within a tenth of its mean."""
    census = Census()
    for size_bytes in range(1, 10**10, 10**10 // 5_000):
        census.count(size_bytes=size_bytes, duration_ms=None)
        assert size_bytes == pytest.approx(max(lot.mean for lot in census.lots.values()), rel=0.1)
    assert len(census.lots) <= 34 * CLASSES_AN_OCTAVE


@given(VIDEOS, st.integers(1, 300))
def test_sample_is_no_larger_than_asked(videos, most):
    """All of a small archive, a part of a larger one."""
    sample = census_of(videos).sample(most)
    assert sum(lot.videos for lot in sample) == min(most, len(videos))


def test_sample_has_each_lot_by_its_share():
    """A hundredth of an archive has the same mean size, though no lot has a whole hundredth."""
    census = Census()
    for number in range(50_000):
        census.count(size_bytes=1_000_000 + 37 * number**2, duration_ms=None)
    sample = census.sample(500)
    mean = sum(lot.total for lot in sample) / sum(lot.videos for lot in sample)
    assert mean == pytest.approx(census.of("size_bytes").mean, rel=0.01)

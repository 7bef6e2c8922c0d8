"""Lines, ratios and weights: right by hand, and not misled by outliers or by jobs that still run."""

from __future__ import annotations

import math
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.planning.fit import FAR, Line, Ratios, fit_line, weighted_ratios, within_fences

PAIRS = st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 100)), max_size=30)


def heads(*values: float) -> list[tuple[float, float]]:
    """Values that weigh the same."""
    return [(1.0, value) for value in values]


def test_what_is_not_ended_is_shared_out_among_those_that_take_longer():
    """One that exceeds 2 is halved between 3 and 4; a third goes to another that exceeds 3.5, and with it to 4."""
    assert weighted_ratios(heads(1, 3, 4), heads(2)).mean == pytest.approx((1 + 1.5 * 3 + 1.5 * 4) / 4)
    found = weighted_ratios(heads(4, 1, 3), heads(2, 3.5))
    assert found.mean == pytest.approx((1 + 4 / 3 * 3 + 8 / 3 * 4) / 5)


def test_shares_are_by_weight():
    """What weighs 6 and exceeds 2 is shared out between 3, which weighs 1, and 4, which weighs 2."""
    found = weighted_ratios([(1.0, 3.0), (2.0, 8.0), (5.0, 5.0)], [(6.0, 12.0)])
    assert found.mean == pytest.approx((5 * 1 + 3 * 3 + 6 * 4) / 14)


def test_what_nothing_known_exceeds_goes_to_the_largest():
    """Two that exceed 9 are stood for by the largest that is known."""
    assert weighted_ratios(heads(1, 2), heads(9, 9)).mean == pytest.approx((1 + 3 * 2) / 4)
    assert weighted_ratios([], heads(1)).mean == 0.0


@given(PAIRS, PAIRS)
def test_what_is_not_ended_makes_the_mean_no_smaller(ended, at_least):
    """Without others the mean is that of the totals; with them it is no smaller, nor beyond the largest known one."""
    alone, found = weighted_ratios(ended, []), weighted_ratios(ended, at_least)
    if ended:
        assert alone.mean == pytest.approx(sum(y for _, y in ended) / sum(x for x, _ in ended))
        assert alone.mean * (1 - 1e-9) <= found.mean <= max(y / x for x, y in ended) * (1 + 1e-9)


def test_short_jobs_that_settle_first_do_not_pass_for_all():
    """Jobs started one a second, each of 10 s or 100 s: when 100 were started, the settled ones are short."""
    jobs = [(100.0 - start, 10.0 if start % 2 else 100.0) for start in range(100)]
    settled = heads(*(seconds for age, seconds in jobs if age >= seconds))
    running = heads(*(age for age, seconds in jobs if age < seconds))
    assert weighted_ratios(settled, []).mean < 15
    assert weighted_ratios(settled, running).mean == pytest.approx(55, rel=0.15)


def test_line_through_points_on_a_line_is_that_line():
    """Base and slope come out as they went in."""
    line = fit_line([(x / 7, 5 + 3 * x / 7) for x in range(50)])
    assert (line.base, line.slope) == pytest.approx((5, 3))
    assert line.at(10) == pytest.approx(35)


@pytest.mark.parametrize("wrong", [0.0, 1e6])
def test_a_fifth_of_wrong_points_does_not_turn_the_line_over(wrong: float):
    """Every fifth point is far off, to one side."""
    line = fit_line([(float(x), wrong if x % 5 == 0 else 20 + 4.0 * x) for x in range(1, 201)])
    assert line.slope == pytest.approx(4, rel=0.2)
    assert line.base == pytest.approx(20, abs=20)


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([(2.0, 8.0)], Line(8.0, 0.0)),
        ([(1.0, 8.0), (1.0, 6.0), (1.0, 7.0)], Line(7.0, 0.0)),  # all equally long
        ([(1.0, 9.0), (2.0, 8.0), (3.0, 7.0)], Line(8.0, 0.0)),  # falling
        ([(1.0, 1.0), (2.0, 4.0), (4.0, 12.0)], Line(0.0, 2.0)),  # beginning below zero
    ],
)
def test_line_neither_falls_nor_begins_below_zero(points: list[tuple[float, float]], line: Line):
    """No job takes less for being longer, or less than nothing."""
    assert fit_line(points) == line


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 100), st.floats(0.1, 10)), min_size=1, max_size=30))
def test_ratios_keep_the_totals(seen):
    """The mean is the sum of what was seen of y over that of x."""
    total_x, total_y = sum(x * w for x, _, w in seen), sum(y * w for _, y, w in seen)
    assert Ratios(seen).mean == pytest.approx(total_y / total_x)


def test_drawn_ratios_have_that_mean():
    """A small file with an absurd ratio is drawn seldom: sums over many draws are not misled by it."""
    ratios = Ratios([(10.0, 200.0, 1.0), (10.0, 100.0, 1.0), (0.01, 60.0, 1.0)])
    drawn = ratios.draw(Random(1), 200_000)
    assert set(drawn) <= {20.0, 10.0, 6000.0}
    assert mean(drawn) == pytest.approx(360 / 20.01, rel=0.05)


def test_ratios_of_nothing_are_zero():
    """What was never seen is not invented."""
    assert Ratios([(0.0, 5.0, 1.0)]).mean == 0.0
    assert Ratios([]).draw(Random(1), 2) == [0.0, 0.0]


def test_what_lies_far_beyond_cannot_be_true():
    """A long tail is kept, a job that was heard of after a day is not."""
    random = Random(1)
    ratios = [random.lognormvariate(0, 0.6) for _ in range(1_000)]
    assert max(ratios) <= within_fences(ratios)
    assert within_fences([*ratios, 500.0]) < 500.0
    assert within_fences([1.0] * 50) == pytest.approx(FAR)
    assert within_fences([1.0]) == math.inf

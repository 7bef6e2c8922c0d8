"""What jobs that are settled tell of those to come: plain statistics that outliers and running jobs do not mislead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random
from statistics import median, quantiles

from msgspec import Struct

FAR = 20  # times the middle: a job heard of after hours without a worker took longer than any true one


class Line(Struct, frozen=True):
    """y = base + slope · x."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        """Its y."""
        return self.base + self.slope * x


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """A line through (x, y) points that a fifth of them, however wrong, cannot turn over.

    Each point of the lower half is paired with one of the upper half; the slope is the median of the pairs' (Theil and
    Sen's estimator over a part of its pairs, which takes n log n). It does not fall, and does not begin below zero.

    Raises:
        StatisticsError: for no points.

    """
    ordered = sorted(points)
    half = (len(ordered) + 1) // 2
    pairs = zip(ordered, ordered[half:], strict=False)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1]
    slope = max(0.0, median(slopes)) if slopes else 0.0
    base = median(y - slope * x for x, y in ordered)
    return Line(base, slope) if base >= 0 else Line(0.0, median(y / x for x, y in ordered if x > 0))


def within_fences(ratios: Sequence[float]) -> float:
    """The largest of the ratios that may be true: what lies far beyond the others, and `FAR` times the middle, is not.

    Far beyond are three interquartile ranges of the logarithms (Tukey's outer fence), which a log-normal tail keeps
    within. So a job that was heard of after the worker had stood still for a day teaches nothing.
    """
    logs = [math.log(ratio) for ratio in ratios if ratio > 0]
    if len(logs) < 2:
        return math.inf
    lower, middle, upper = quantiles(logs, n=4, method="inclusive")
    return math.exp(max(upper + 3 * (upper - lower), middle + math.log(FAR)))


class Ratios:
    """What was seen of y for each x, to be drawn for another x so that the totals of many come out right.

    A ratio is drawn as often as its x weighs: the mean of what is drawn is the sum of all y over the sum of all x.
    """

    def __init__(self, seen: Iterable[tuple[float, float, float]]) -> None:
        """`seen` is (x, y, weight)."""
        kept = [(y / x, x * weight) for x, y, weight in seen if x * weight > 0]
        self._ratios = [ratio for ratio, _ in kept]
        self._cumulated = list(accumulate(weight for _, weight in kept))
        self.mean = sum(ratio * weight for ratio, weight in kept) / self._cumulated[-1] if kept else 0.0

    def draw(self, random: Random, count: int) -> list[float]:
        """So many of the ratios."""
        return random.choices(self._ratios, cum_weights=self._cumulated, k=count) if self._ratios else [0.0] * count


def weighted_ratios(ended: Sequence[tuple[float, float]], at_least: Sequence[tuple[float, float]]) -> Ratios:
    """Ratios of (x, y) that are known, beside others of which is known what y exceeds.

    A small y is known first: early in a backfill the settled jobs took less than all that were started. So the x of
    each of the others is shared out among those whose ratio is, or exceeds, more than its own (Kaplan and Meier 1958,
    in the form of Efron 1967, redistribution to the right; by x instead of heads). What is left over goes to the
    largest one.
    """
    known = sorted((y / x, x) for x, y in ended if x > 0)
    return Ratios((x, ratio * x, weight) for (ratio, x), weight in zip(known, _weights(known, at_least), strict=True))


def _weights(known: Sequence[tuple[float, float]], at_least: Sequence[tuple[float, float]]) -> list[float]:
    """How many times itself each of the known (ratio, x) stands for; they are in order."""
    nobody = len(known)
    ended = [(ratio, place, x) for place, (ratio, x) in enumerate(known)]
    events = sorted([*ended, *((y / x, nobody, x) for x, y in at_least if x > 0)])
    to_the_right = list(accumulate((x for _, _, x in reversed(events)), initial=0.0))
    found, each = [1.0] * nobody, 1.0
    for (_, place, x), right in zip(events, to_the_right[-2::-1], strict=True):
        if place < nobody:
            found[place] = each
        elif right:
            each += each * x / right
    if known:
        shared_out = sum(weight * x for weight, (_, x) in zip(found, known, strict=True))
        found[-1] += (to_the_right[-1] - shared_out) / known[-1][1]
    return found

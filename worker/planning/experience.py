"""What is known of videos and their jobs: learned from settled ones, or guessed as long as none is settled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random

from msgspec import Struct

from worker.flow.estimate import LONGEST_MINUTES
from worker.planning.census import Lot
from worker.planning.fit import Line, Ratios, fit_line, weighted_ratios, within_fences
from worker.planning.simulation import Task

ENOUGH_JOBS = 20  # settled ones; fewer say less than a guess
GUESSED_JOB = Line(30.0, 30.0)  # seconds, and for each minute of video: AWS publishes no figure
GUESSED_LABELS_A_MINUTE = 50.0  # two looks a second, three labels at a time, in a seventh of the video
LARGEST_PAGE = 1_000  # labels, as AWS documents
_MS_PER_MINUTE = 60_000


class Settled(Struct, frozen=True):
    """A job that brought labels.

    `seconds` are those from its start until the worker heard of its end, by a notice or because it asked: for so long
    it held a slot.
    """

    size_bytes: int
    minutes: float
    labels: int
    pages: int
    seconds: float


class InFlight(Struct, frozen=True):
    """A job that was started and is not settled: how long ago, and how much of its result was read.

    `seen_seconds` is for how long a worker was there to hear of its end.
    """

    size_bytes: int
    duration_ms: int | None
    age_seconds: float
    seen_seconds: float
    labels_read: int = 0
    pages_read: int = 0
    is_ready: bool = False
    is_own: bool = True

    @property
    def lot(self) -> Lot:
        """What is known of its video's length."""
        if self.duration_ms is not None:
            return Lot("duration_ms", 1, self.duration_ms)
        return Lot("size_bytes", 1, self.size_bytes)


class Experience(Struct, frozen=True):
    """What to expect of a video. `jobs` is how many it was learned from; 0 for a guess."""

    jobs: int
    minutes_per_gb: Ratios
    minutes: Ratios  # of a video of which nothing is known: its x is 1
    job: Line  # seconds that it takes, by its video's minutes
    spread: Ratios  # of what jobs took over what the line says
    labels: Ratios  # a minute
    labels_a_page: float

    def mean_minutes(self, lot: Lot) -> float:
        """Of one of the lot's videos."""
        return min(self._length(lot, self.minutes_per_gb.mean, self.minutes.mean), LONGEST_MINUTES)

    def mean_seconds(self, minutes: float) -> float:
        """Of a job, from its start until it is heard of."""
        return self.job.at(minutes) * self.spread.mean

    def draw_minutes(self, lot: Lot, random: Random) -> list[float]:
        """A length for each of the lot's videos."""
        drawn = (self.minutes if lot.known == "nothing" else self.minutes_per_gb).draw(random, lot.videos)
        return [min(self._length(lot, ratio, ratio), LONGEST_MINUTES) for ratio in drawn]

    def mean_pages(self, minutes: float) -> float:
        """Of a result, about."""
        return max(1.0, 0.5 + self.labels.mean * minutes / self.labels_a_page)

    def draw_tasks(self, lots: Iterable[Lot], random: Random) -> list[Task]:
        """What each of the lots' videos takes, in no order."""
        minutes = [length for lot in lots for length in self.draw_minutes(lot, random)]
        random.shuffle(minutes)
        spreads, labels = (ratios.draw(random, len(minutes)) for ratios in (self.spread, self.labels))
        return [
            Task(self.job.at(length) * spread, max(1, math.ceil(length * labels_a_minute / self.labels_a_page)))
            for length, spread, labels_a_minute in zip(minutes, spreads, labels, strict=True)
        ]

    def draw_rest(self, job: InFlight, random: Random) -> Task:
        """What is left of a job that was started."""
        [whole] = self.draw_tasks([job.lot], random)
        seconds = 0.0 if job.is_ready else max(0.0, whole.seconds - job.age_seconds)
        return Task(seconds, max(1, whole.pages - job.pages_read))

    @staticmethod
    def _length(lot: Lot, minutes_per_gb: float, minutes: float) -> float:
        match lot.known:
            case "duration_ms":
                return lot.mean / _MS_PER_MINUTE
            case "size_bytes":
                return lot.mean / 1e9 * minutes_per_gb
            case "nothing":
                return minutes


def learned(settled: Sequence[Settled], in_flight: Sequence[InFlight]) -> Experience | None:
    """What jobs tell that were started in the same time, settled or not; None if too few are settled.

    Those that take long for their length, or have many labels for it, settle last. So what the settled ones say of that
    is weighted by what the others are known to exceed already. Minutes a gigabyte need no such care: by size alone it
    can hardly be told which job settles last, and weights would only scatter more.
    """
    if len(settled) < ENOUGH_JOBS or not any(job.minutes and job.size_bytes for job in settled):
        return None
    minutes_per_gb = Ratios((job.size_bytes / 1e9, job.minutes, 1.0) for job in settled)
    lengths = [_expected_minutes(job, minutes_per_gb.mean) for job in in_flight]
    return Experience(
        jobs=len(settled),
        minutes_per_gb=minutes_per_gb,
        minutes=Ratios((1.0, job.minutes, 1.0) for job in settled),
        job=(line := fit_line([(job.minutes, job.seconds) for job in settled])),
        spread=_spread(line, settled, list(zip(lengths, in_flight, strict=True))),
        labels=weighted_ratios(
            [(job.minutes, job.labels) for job in settled],
            [(minutes, job.labels_read) for minutes, job in zip(lengths, in_flight, strict=True)],
        ),
        labels_a_page=_labels_a_page(settled),
    )


def _expected_minutes(job: InFlight, minutes_per_gb: float) -> float:
    return job.size_bytes / 1e9 * minutes_per_gb if job.duration_ms is None else job.duration_ms / _MS_PER_MINUTE


def _spread(line: Line, settled: Sequence[Settled], in_flight: Sequence[tuple[float, InFlight]]) -> Ratios:
    """What jobs took over what the line says, without what cannot be true."""
    took = [(expected, job.seconds) for job in settled if (expected := line.at(job.minutes))]
    most = within_fences([seconds / expected for expected, seconds in took])
    open_for = [(line.at(minutes), job.seen_seconds) for minutes, job in in_flight if not job.is_ready]
    return weighted_ratios([(x, y) for x, y in took if y <= most * x], [(x, y) for x, y in open_for if y <= most * x])


def _labels_a_page(settled: Sequence[Settled]) -> float:
    """How many labels fit on a page: as many as the fullest result has a page, once one has several."""
    if all(job.pages == 1 for job in settled):
        return LARGEST_PAGE
    return max(1.0, *(job.labels / job.pages for job in settled))


def guessed(minutes_per_gb: float, gigabytes: float) -> Experience:
    """What is believed as long as nothing is settled; `gigabytes` are those of a video of unknown size."""
    return Experience(
        jobs=0,
        minutes_per_gb=Ratios([(1.0, minutes_per_gb, 1.0)]),
        minutes=Ratios([(1.0, gigabytes * minutes_per_gb, 1.0)]),
        job=GUESSED_JOB,
        spread=Ratios([(1.0, 1.0, 1.0)]),
        labels=Ratios([(1.0, GUESSED_LABELS_A_MINUTE, 1.0)]),
        labels_a_page=LARGEST_PAGE,
    )

"""An archive and a service with laws of their own, and a lane that works on it in virtual time: what a plan is held to.

It is written apart from `worker.planning.simulation`: it steps from moment to moment and keeps a record of every job.
"""

from __future__ import annotations

import math
from random import Random

from msgspec import Struct

from worker.planning.census import Census
from worker.planning.experience import InFlight, Settled
from worker.planning.simulation import Quota

PAGE = 1_000  # labels


class Film(Struct):
    """A video as it is, which nobody knows before its job is settled, and what became of it."""

    size_bytes: int
    minutes: float
    job_seconds: float
    labels: int
    started_at: float = math.inf
    ready_at: float = math.inf
    read: int = 0
    settled_at: float = math.inf

    @property
    def pages(self) -> int:
        """Of its result."""
        return max(1, math.ceil(self.labels / PAGE))


class Archive(Struct, frozen=True):
    """The laws: of lengths, bytes a minute, job times (with a long tail) and labels."""

    films: int = 1_000
    median_minutes: float = 2.0
    spread_of_minutes: float = 0.9
    least_mb_a_minute: float = 9.0
    most_mb_a_minute: float = 39.0
    job_base_seconds: float = 20.0
    job_seconds_a_minute: float = 15.0
    spread_of_jobs: float = 0.5
    labels_a_minute: float = 300.0
    spread_of_labels: float = 0.7

    def made_up(self, random: Random) -> list[Film]:
        """Its films, in the order of their registration."""
        return [self._film(random) for _ in range(self.films)]

    def _film(self, random: Random) -> Film:
        minutes = self.median_minutes * random.lognormvariate(0, self.spread_of_minutes)
        usual_seconds = self.job_base_seconds + self.job_seconds_a_minute * minutes
        return Film(
            size_bytes=int(minutes * random.uniform(self.least_mb_a_minute, self.most_mb_a_minute) * 1e6),
            minutes=minutes,
            job_seconds=usual_seconds * random.lognormvariate(0, self.spread_of_jobs),
            labels=round(minutes * self.labels_a_minute * random.lognormvariate(0, self.spread_of_labels)),
        )


class Rehearsal:
    """A lane that moderates the films as its quota lets it."""

    def __init__(self, films: list[Film], quota: Quota) -> None:
        self._quota = quota
        self.pending = list(films)
        self.running: list[Film] = []
        self.ready: list[Film] = []
        self.settled: list[Film] = []
        self.now = 0.0
        self._start_due = self._get_due = 0.0

    def until_settled(self, films: int) -> None:
        """Work until so many are settled."""
        while len(self.settled) < films:
            self.now = self._next_moment()
            self._end_jobs()
            self._read_a_page()
            self._start_a_job()

    def _next_moment(self) -> float:
        moments = [film.started_at + film.job_seconds for film in self.running]
        if self.ready:
            moments.append(max(self.now, self._get_due))
        if self.pending and self._free():
            moments.append(max(self.now, self._start_due))
        return min(moments)

    def _free(self) -> int:
        held = len(self.running) + sum(film.read == 0 for film in self.ready)
        return self._quota.concurrent_jobs - held

    def _end_jobs(self) -> None:
        for film in [film for film in self.running if film.started_at + film.job_seconds <= self.now]:
            self.running.remove(film)
            film.ready_at = self.now
            self.ready.append(film)

    def _read_a_page(self) -> None:
        if not self.ready or self._get_due > self.now:
            return
        film = self.ready.pop(0)
        film.read += 1
        self._get_due = self.now + 1 / self._quota.get_per_second
        if film.read < film.pages:
            self.ready.append(film)
        else:
            film.settled_at = self.now
            self.settled.append(film)

    def _start_a_job(self) -> None:
        if self.pending and self._free() > 0 and self._start_due <= self.now:
            film = self.pending.pop(0)
            film.started_at = self.now
            self.running.append(film)
            self._start_due = self.now + 1 / self._quota.start_per_second

    def records(self) -> list[Settled]:
        """What the database would tell of the settled ones."""
        return [
            Settled(film.size_bytes, film.minutes, film.labels, film.pages, film.ready_at - film.started_at)
            for film in self.settled
        ]

    def in_flight(self) -> list[InFlight]:
        """What it would tell of those that were started."""
        return [self._started(film) for film in [*self.running, *self.ready]]

    def _started(self, film: Film) -> InFlight:
        age_seconds = self.now - film.started_at
        read = {"labels_read": film.read * PAGE, "pages_read": film.read, "is_ready": film in self.ready}
        return InFlight(film.size_bytes, None, age_seconds, age_seconds, **read)

    def census(self) -> Census:
        """What waits."""
        census = Census()
        for film in self.pending:
            census.count(size_bytes=film.size_bytes, duration_ms=None)
        return census

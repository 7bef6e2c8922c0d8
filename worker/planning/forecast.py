"""How long the lanes of one region work, which of their quotas binds, and whether results would wait for too long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from worker.planning.census import Census
from worker.planning.experience import Experience, InFlight
from worker.planning.simulation import Quota, Task, simulate

SAMPLE = 20_000  # videos that are worked on event by event in all; what the others take is known by then
LEAST_SAMPLE = 1_000  # of a lane
MOST_EVENTS = 200_000  # in all: a video has one for its start, its end and each page
MOST_TIMES = 9
SEED = 1  # the same question, the same answer

STARTS, GETS, JOBS = "start_per_second", "get_per_second", "concurrent_jobs"
QUOTAS = (JOBS, STARTS, GETS)
"""The keys of a lane's quotas."""


class Duties(Struct, frozen=True):
    """What the lanes of a region have to do together: videos to start, and by lane the jobs that run already.

    `starts` may be fewer than the census has, where some are refused, or more, where others' videos come first.
    """

    census: Census
    starts: int
    in_flight: Mapping[str, Sequence[InFlight]]
    failed_share: float = 0.0


class Forecast(Struct, frozen=True):
    """What a lane does: videos that it starts, seconds to its last page, and the share of each quota that this takes.

    `is_held_back`: more results than can be read in their life would run or wait, so starts wait for them.
    """

    starts: int
    seconds: float
    used: dict[str, float]
    is_held_back: bool


def forecast(
    duties: Duties, quotas: Mapping[str, Quota], experience: Experience, life_seconds: float
) -> dict[str, Forecast]:
    """What each lane of the region does. A lane that runs dry takes over from the longest queue of its region.

    So the videos are given to the lanes by what each of them can do in a second, whichever they were registered for.
    Where they are few, chance decides when the last one ends: it is drawn several times, and the middle one counts.
    """
    most = _most_tasks(duties, experience, len(quotas))
    jobs = duties.starts + sum(map(len, duties.in_flight.values()))
    times = max(1, min(MOST_TIMES, most // max(1, jobs)))
    runs = [_forecast(duties, quotas, experience, life_seconds, most, Random(SEED + n)) for n in range(times)]
    return sorted(runs, key=longest)[times // 2]


def longest(forecasts: Mapping[str, Forecast]) -> float:
    """Seconds until the last of the lanes is done."""
    return max((found.seconds for found in forecasts.values()), default=0.0)


def _most_tasks(duties: Duties, experience: Experience, lanes: int) -> int:
    """How many videos of a lane are worked on event by event: all together take seconds, however many there are."""
    minutes = sum(lot.videos * experience.mean_minutes(lot) for lot in duties.census.lots.values())
    pages = experience.mean_pages(minutes / max(1, duties.census.videos))
    return max(1, int(min(max(SAMPLE / lanes, LEAST_SAMPLE), MOST_EVENTS / lanes / (2 + pages))))


def _forecast(
    duties: Duties,
    quotas: Mapping[str, Quota],
    experience: Experience,
    life_seconds: float,
    most: int,
    random: Random,
) -> dict[str, Forecast]:
    tasks = [_failing(task, duties, random) for task in experience.draw_tasks(duties.census.sample(most), random)]
    rates = {name: _Rates(quota, tasks, life_seconds) for name, quota in quotas.items()}
    per_second = list(accumulate(rate.steady for rate in rates.values()))
    ends = [round(duties.starts * so_far / per_second[-1]) for so_far in per_second]
    return {
        name: _lane(
            _cut(tasks, first, min(last, first + most)),
            last - first,
            [experience.draw_rest(job, random) for job in duties.in_flight.get(name, ())],
            rates[name],
        )
        for name, first, last in zip(quotas, [0, *ends], ends, strict=False)
    }


def _failing(task: Task, duties: Duties, random: Random) -> Task:
    """A job that fails has one answer to read."""
    return replace(task, pages=1) if random.random() < duties.failed_share else task


def doubled(quotas: Mapping[str, Quota], lane: str, quota: str) -> dict[str, Quota]:
    """The quotas, with one of a lane's twice as large."""
    return {**quotas, lane: replace(quotas[lane], **{quota: getattr(quotas[lane], quota) * 2})}


class _Rates:
    """What a lane can do in a second in the long run."""

    def __init__(self, quota: Quota, tasks: Sequence[Task], life_seconds: float) -> None:
        count = max(1, len(tasks))
        self.quota = quota
        self.seconds_a_video = sum(task.seconds for task in tasks) / count
        self.pages_a_video = max(1.0, sum(task.pages for task in tasks) / count)
        self.most_unread = max(1.0, life_seconds * quota.get_per_second / self.pages_a_video)
        self.read = quota.get_per_second / self.pages_a_video
        slots = min(quota.concurrent_jobs, self.most_unread)
        self.started = min(quota.start_per_second, slots / self.seconds_a_video if self.seconds_a_video else math.inf)
        self.steady = min(self.started, self.read)


def _lane(waiting: Sequence[Task], starts: int, in_flight: Sequence[Task], rates: _Rates) -> Forecast:
    """Work on the sample of what is waiting, and add what the others take once everything is in its stride."""
    run = simulate(waiting, in_flight, rates.quota, most_unread=rates.most_unread)
    seconds = run.seconds + (starts - len(waiting)) / rates.steady
    unread_in_the_end = starts * (1 - rates.steady / rates.started)
    return Forecast(
        starts=starts,
        seconds=seconds,
        used=_used(starts, waiting, in_flight, seconds, rates),
        is_held_back=run.was_held_back or (rates.most_unread < min(rates.quota.concurrent_jobs, unread_in_the_end)),
    )


def _cut(tasks: Sequence[Task], first: int, last: int) -> list[Task]:
    """A lane's part of the tasks, from the beginning again where there are too few."""
    return [tasks[number % len(tasks)] for number in range(first, last)] if tasks else []


def _used(
    starts: int, waiting: Sequence[Task], in_flight: Sequence[Task], seconds: float, rates: _Rates
) -> dict[str, float]:
    """The share of each quota that the work takes, waits for the others left out."""
    if not seconds:
        return dict.fromkeys(QUOTAS, 0.0)
    many = starts / max(1, len(waiting))
    job_seconds = many * sum(task.seconds for task in waiting) + sum(task.seconds for task in in_flight)
    pages = many * sum(task.pages for task in waiting) + sum(task.pages for task in in_flight)
    quota = rates.quota
    taken = {
        JOBS: job_seconds / quota.concurrent_jobs,
        STARTS: starts / quota.start_per_second,
        GETS: pages / quota.get_per_second,
    }
    return {name: min(1.0, busy_seconds / seconds) for name, busy_seconds in taken.items()}

"""A lane at work, event by event: starts at its pace while slots are free, jobs that end, pages read at their pace."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from msgspec import Struct

NEVER = math.inf


class Quota(Struct, frozen=True):
    """What an account may do: starts and page reads a second, and running jobs."""

    start_per_second: float
    get_per_second: float
    concurrent_jobs: int


class Task(Struct, frozen=True):
    """What a video takes: seconds from its start until it is heard of again, and pages of its result."""

    seconds: float
    pages: int


class Run(Struct, frozen=True):
    """How it went: seconds to the last page, and whether starts waited for results that nobody had read yet."""

    seconds: float
    was_held_back: bool


def simulate(waiting: Iterable[Task], in_flight: Iterable[Task], quota: Quota, *, most_unread: float = math.inf) -> Run:
    """Work on what is waiting, in its order, beside what runs already (with the seconds and pages that are left of it).

    As in the worker, a slot is taken from a job's start until the first page of its result was read, and nothing is
    started while `most_unread` results run or wait to be read.
    """
    return _Lane(waiting, in_flight, quota, most_unread).run()


class _Lane:
    def __init__(self, waiting: Iterable[Task], in_flight: Iterable[Task], quota: Quota, most_unread: float) -> None:
        self._quota = quota
        self._most_unread = most_unread
        self._waiting = iter(waiting)
        self._next = next(self._waiting, None)
        self._running = [(task.seconds, task.pages) for task in in_flight]
        heapify(self._running)
        self._pages: deque[tuple[int, bool]] = deque()  # left of each result, and whether it holds its slot still
        self._used = self._unread = len(self._running)
        self._now = self._start_due = self._get_due = 0.0
        self._was_held_back = False

    def run(self) -> Run:
        while True:
            start_at, end_at, get_at = self._start_at(), self._end_at(), self._get_at()
            now = min(start_at, end_at, get_at)
            if now == NEVER:
                return Run(self._now, self._was_held_back)
            self._now = now
            if now == end_at:
                self._end()
            elif now == get_at:
                self._get()
            else:
                self._start()

    def _start_at(self) -> float:
        if self._next is None or self._used >= self._quota.concurrent_jobs:
            return NEVER
        if self._unread >= self._most_unread:
            self._was_held_back = True
            return NEVER
        return max(self._start_due, self._now)

    def _end_at(self) -> float:
        return self._running[0][0] if self._running else NEVER

    def _get_at(self) -> float:
        return max(self._get_due, self._now) if self._pages else NEVER

    def _start(self) -> None:
        task = self._next
        if task is not None:
            heappush(self._running, (self._now + task.seconds, task.pages))
        self._next = next(self._waiting, None)
        self._used += 1
        self._unread += 1
        self._start_due = self._now + 1 / self._quota.start_per_second

    def _end(self) -> None:
        _, pages = heappop(self._running)
        self._pages.append((pages, True))

    def _get(self) -> None:
        pages, holds_slot = self._pages.popleft()
        self._used -= holds_slot
        self._get_due = self._now + 1 / self._quota.get_per_second
        if pages > 1:
            self._pages.append((pages - 1, False))
        else:
            self._unread -= 1

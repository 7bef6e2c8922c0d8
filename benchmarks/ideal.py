"""How soon a run could be over at all: the same videos in the same order, if no call and no notice took any time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from msgspec import Struct

from worker.planning.simulation import Quota


class Ran(Struct, frozen=True):
    """What a video takes: seconds that its job runs, and pages of its result."""

    seconds: float
    pages: int


def ideal_seconds(videos: Sequence[Ran], quota: Quota) -> float:
    """Seconds from the first start to the last page."""
    ready = sorted((ended_at, video.pages) for ended_at, video in zip(_ends(videos, quota), videos, strict=True))
    read_at = 0.0
    for ended_at, pages in ready:
        read_at = max(read_at + 1 / quota.get_per_second, ended_at) + (pages - 1) / quota.get_per_second
    return read_at


def _ends(videos: Sequence[Ran], quota: Quota) -> list[float]:
    """When each job ends, if each starts as soon as the one before it, the pace and the slots let it."""
    running: list[float] = []
    ends: list[float] = []
    due_at = 0.0
    for video in videos:
        if len(running) == quota.concurrent_jobs:
            due_at = max(due_at, heapq.heappop(running))
        ends.append(due_at + video.seconds)
        heapq.heappush(running, ends[-1])
        due_at += 1 / quota.start_per_second
    return ends

"""A lane at work: right by hand, never faster than its quotas, and as fast as they let it be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ideal import Quota as IdealQuota
from benchmarks.ideal import Ran, ideal_seconds
from worker.planning.simulation import Quota, Run, Task, simulate

TASKS = st.lists(st.builds(Task, seconds=st.floats(0, 100), pages=st.integers(1, 6)), max_size=40)
QUOTA = st.builds(
    Quota,
    start_per_second=st.floats(0.1, 20),
    get_per_second=st.floats(0.1, 20),
    concurrent_jobs=st.integers(1, 20),
)


def test_four_videos_by_hand():
    """Two slots, a start and two pages a second.

    Starts at 0 and 1; both jobs end at 5 and their pages are read at 5 and 5.5. So the next ones start at 5 and 6 (a
    slot is free at 5.5, the pace at 6) and end at 6 and 7. Pages of the third are read at 6, 6.5 and 7.5, the fourth's
    only one, which waited its turn, at 7.
    """
    videos = [Task(5.0, 1), Task(4.0, 1), Task(1.0, 3), Task(1.0, 1)]
    assert simulate(videos, [], Quota(1.0, 2.0, 2)) == Run(7.5, was_held_back=False)


def test_slot_is_held_until_the_first_page_was_read():
    """One slot and a page in 10 s: the second job starts when the first one's first page was read, not at its end."""
    assert simulate([Task(1.0, 2), Task(1.0, 1)], [], Quota(5.0, 0.1, 1)).seconds == 21.0


def test_what_runs_already_needs_no_start():
    """Two jobs run, of which one has a second left; the next one takes its slot then."""
    assert simulate([Task(3.0, 1)], [Task(1.0, 1), Task(9.0, 1)], Quota(0.1, 100.0, 2)).seconds == 9.0
    assert simulate([Task(3.0, 1)], [Task(1.0, 1), Task(2.0, 1)], Quota(0.1, 100.0, 2)).seconds == 4.0


def test_nothing_to_do_takes_no_time():
    """Neither waits, nor runs."""
    assert simulate([], [], Quota(1.0, 1.0, 1)) == Run(0.0, was_held_back=False)


def test_starts_wait_for_results_that_nobody_has_read():
    """With room for one unread result a job waits until the one before is read to its end; with room for all, not."""
    videos, quota = [Task(1.0, 2)] * 3, Quota(100.0, 10.0, 50)
    one_by_one = simulate(videos, [], quota, most_unread=1)
    assert (one_by_one.seconds, one_by_one.was_held_back) == (pytest.approx(3.3), True)
    at_once = simulate(videos, [], quota, most_unread=3)
    assert (at_once.seconds, at_once.was_held_back) == (pytest.approx(1.5), False)


@given(TASKS, QUOTA)
def test_no_quota_is_overrun(tasks, quota):
    """It takes at least as long as the starts, the pages, and the jobs in their slots; and not longer than all."""
    seconds = simulate(tasks, [], quota).seconds
    starts = (len(tasks) - 1) / quota.start_per_second
    gets = (sum(task.pages for task in tasks) - 1) / quota.get_per_second
    jobs = sum(task.seconds for task in tasks) / quota.concurrent_jobs
    longest = max((task.seconds for task in tasks), default=0.0)
    assert seconds >= max(starts, gets, jobs, longest, 0.0) - 1e-6
    pages = sum(task.pages for task in tasks)
    assert seconds <= len(tasks) / quota.start_per_second + pages / quota.get_per_second + jobs + longest + 1e-6


@given(TASKS, QUOTA)
def test_it_is_the_ideal_schedule_where_reading_takes_no_time(tasks, quota):
    """Without waits for pages it ends when the ideal run of `benchmarks.ideal` does."""
    if not tasks:
        return
    ideal = IdealQuota(quota.start_per_second, 1e12, quota.concurrent_jobs)
    at_once = Quota(quota.start_per_second, 1e12, quota.concurrent_jobs)
    expected = ideal_seconds([Ran(task.seconds, task.pages) for task in tasks], ideal)
    assert simulate(tasks, [], at_once).seconds == pytest.approx(expected, abs=1e-6)


@given(TASKS, QUOTA)
def test_more_slots_never_take_longer(tasks, quota):
    """Twice the slots, with pages read at once."""
    of = {n: Quota(quota.start_per_second, 1e12, quota.concurrent_jobs * n) for n in (1, 2)}
    assert simulate(tasks, [], of[2]).seconds <= simulate(tasks, [], of[1]).seconds + 1e-6

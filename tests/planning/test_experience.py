"""What settled jobs teach, what is guessed without them, and what is left of jobs that run."""

from __future__ import annotations

from random import Random
from statistics import mean

import pytest

from worker.flow.estimate import LONGEST_MINUTES
from worker.planning.census import Lot
from worker.planning.experience import ENOUGH_JOBS, InFlight, Settled, guessed, learned

GB = 10**9


def job(minutes: float = 10.0, *, labels: int = 0, seconds: float = 20.0, size_bytes: int = GB) -> Settled:
    """A settled job with pages of 1,000 labels."""
    return Settled(size_bytes, minutes, labels, max(1, -(-labels // 1_000)), seconds)


def settled(count: int, *, labels_a_minute: int = 0) -> list[Settled]:
    """Jobs of videos of 1 to `count` minutes, 10 minutes a gigabyte, 20 s and 6 s a minute."""
    return [
        job(float(n), labels=labels_a_minute * n, seconds=20.0 + 6.0 * n, size_bytes=n * GB // 10)
        for n in range(1, count + 1)
    ]


def running(size_bytes: int = GB, **known: object) -> InFlight:
    """A job that was started a moment ago."""
    return InFlight(**{"size_bytes": size_bytes, "duration_ms": None, "age_seconds": 0.0, "seen_seconds": 0.0} | known)


def test_laws_of_the_archive_are_found():
    """Minutes a gigabyte, the line of job times, labels a minute and a page."""
    found = learned(settled(100, labels_a_minute=130), [])
    assert found is not None
    assert found.jobs == 100
    assert found.mean_minutes(Lot("size_bytes", 1, 3 * GB)) == pytest.approx(30)
    assert found.mean_minutes(Lot("duration_ms", 1, 90_000)) == pytest.approx(1.5)
    assert found.mean_minutes(Lot("nothing", 7)) == pytest.approx(50.5)
    assert found.mean_seconds(10.0) == pytest.approx(80)
    assert found.labels.mean == pytest.approx(130)
    assert found.labels_a_page == pytest.approx(1_000, rel=0.01)
    assert found.mean_pages(100.0) == pytest.approx(13.5, rel=0.01)


def test_few_jobs_teach_nothing():
    """One too few are as good as none; nor do those without a length, or without any bytes."""
    assert learned(settled(ENOUGH_JOBS), []) is not None
    assert learned(settled(ENOUGH_JOBS - 1), []) is None
    assert learned([job(0.0)] * 50, []) is None
    assert learned([job(size_bytes=0)] * 50, []) is None


def test_no_video_is_longer_than_aws_takes():
    """Ten gigabytes of a slide show are six hours, not a hundred."""
    found = guessed(600.0, 1.0)
    assert found.mean_minutes(Lot("size_bytes", 1, 10 * GB)) == LONGEST_MINUTES
    assert found.draw_minutes(Lot("size_bytes", 2, 20 * GB), Random(1)) == [LONGEST_MINUTES] * 2


def test_without_experience_the_configured_guess_counts():
    """Minutes by size as configured, by the size that is taken for an unknown one."""
    found = guessed(20.0, 0.5)
    assert found.jobs == 0
    assert found.mean_minutes(Lot("size_bytes", 2, 4 * GB)) == pytest.approx(40)
    assert found.mean_minutes(Lot("nothing", 1)) == pytest.approx(10)


def test_tasks_keep_the_means():
    """Tasks drawn for many videos take as long, and have as many pages, as is expected on average."""
    found = learned(settled(100, labels_a_minute=900), [])
    assert found is not None
    tasks = found.draw_tasks([Lot("size_bytes", 20_000, 20_000 * GB)], Random(2))
    assert len(tasks) == 20_000
    assert mean(task.seconds for task in tasks) == pytest.approx(found.mean_seconds(10.0), rel=0.02)
    assert mean(task.pages for task in tasks) == pytest.approx(9)


def test_a_day_without_a_worker_is_not_the_jobs_fault():
    """Ten jobs that were heard of a day late change neither the line nor what is drawn."""
    late = [job(seconds=86_400.0)] * 10
    found = learned([*settled(100), *late], [])
    assert found is not None
    assert found.mean_seconds(10.0) == pytest.approx(80, rel=0.1)


def test_jobs_that_run_for_long_are_reckoned_with():
    """Half of the jobs of equal videos take 100 s, and most of these run still: they weigh as much as the others."""
    quick, slow = [job(seconds=10.0)] * 50, [job(seconds=100.0)] * 5
    still = [running(age_seconds=60.0, seen_seconds=60.0)] * 45
    found = learned([*quick, *slow], still)
    assert found is not None
    assert found.mean_seconds(10.0) == pytest.approx(55)


@pytest.mark.parametrize(
    "known",
    [
        {"seen_seconds": 0.0},  # no worker was there to hear of its end
        {"seen_seconds": 60.0, "is_ready": True},  # it has ended, and waits to be read
    ],
)
def test_jobs_that_may_have_ended_do_not_pass_for_running_ones(known: dict[str, object]):
    """Their age says nothing of what jobs take: quick and slow ones weigh as much as before."""
    half = [job(seconds=10.0)] * 50 + [job(seconds=100.0)] * 50
    found = learned(half, [running(age_seconds=60.0, **known)] * 100)
    assert found is not None
    assert found.mean_seconds(10.0) == pytest.approx(55)


def test_results_with_many_labels_are_reckoned_with():
    """Half of the results of equal videos have 6,000 labels, and most of these are still being read."""
    few, many = [job(labels=1_000)] * 50, [job(labels=6_000)] * 10
    found = learned([*few, *many], [running(labels_read=5_000, pages_read=5, is_ready=True)] * 40)
    assert found is not None
    assert found.labels.mean * 10 == pytest.approx(3_500)


def test_pages_that_are_smaller_than_documented_are_noticed():
    """Pages of at most a hundred labels: a result of 1,050 has eleven of them."""
    short = [Settled(GB, 10.0, labels, -(-labels // 100), 20.0) for labels in range(50, 2_050, 10)]
    found = learned(short, [])
    assert found is not None
    assert found.labels_a_page == pytest.approx(100, rel=0.01)


def test_what_is_left_of_a_running_job():
    """Its age is taken off its seconds, what was read off its pages; a ready one has only pages to be read."""
    found = learned(settled(100, labels_a_minute=1_050), [])
    assert found is not None
    rest = found.draw_rest(running(duration_ms=600_000, age_seconds=50.0), Random(3))
    assert (rest.seconds, rest.pages) == (pytest.approx(30), 11)
    assert found.draw_rest(running(duration_ms=600_000, age_seconds=500.0), Random(3)).seconds == 0
    read = found.draw_rest(running(pages_read=1, is_ready=True), Random(3))
    assert (read.seconds, read.pages) == (0, 10)
    assert found.draw_rest(running(pages_read=99, is_ready=True), Random(3)).pages == 1

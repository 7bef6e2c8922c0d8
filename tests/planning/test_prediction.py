"""What a backfill comes to: by hand where quotas bind clearly, and the same by extrapolation as event by event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from worker.planning import forecast as forecasts
from worker.planning import simulation
from worker.planning.census import Census
from worker.planning.experience import Experience, InFlight, guessed
from worker.planning.fit import Line, Ratios
from worker.planning.prediction import Lane, Prediction, Question, Queue, Shares, Terms, Work, predict
from worker.planning.simulation import Quota, Run, Task

LIFE_SECONDS = 561_600.0
GB = 10**9


def films(count: int, *, minutes: float = 2.0) -> Census:
    """Videos of the same length."""
    census = Census()
    census.add("duration_ms", round(count * minutes * 60_000), count)
    return census


def experience(*, seconds: float = 60.0, pages: float = 1.0) -> Experience:
    """Every job takes so many seconds, and each result of two minutes of video has so many pages."""
    one = Ratios([(1.0, 1.0, 1.0)])
    return Experience(200, one, one, Line(seconds, 0.0), one, Ratios([(2.0, 100 * pages, 1.0)]), 100.0)


def ask(work: Census | dict[str, Work], *quotas: Quota, **known: Any) -> Prediction:
    """A prediction for lanes a, b, … of one region."""
    lanes = {name: Lane("us-east-1", quota) for name, quota in zip("abcd", quotas, strict=False)}
    works = {"a": Work(work)} if isinstance(work, Census) else work
    question = {"experience": experience(), "terms": Terms(0.10), "life_seconds": LIFE_SECONDS} | known
    return predict(Question(lanes=lanes, work=works, **question))


@pytest.mark.parametrize(
    ("quota", "binds", "seconds"),
    [
        (Quota(5.0, 20.0, 20), "concurrent_jobs", 100_000 * 60 / 20),
        (Quota(0.1, 20.0, 20), "start_per_second", 100_000 / 0.1),
        (Quota(5.0, 0.6, 2_000), "get_per_second", 100_000 * 3 / 0.6),
    ],
)
def test_quota_that_binds_gives_the_time(quota: Quota, binds: str, seconds: float):
    """A hundred thousand videos of 60 s and three pages: the narrowest quota decides, and only more of it helps."""
    found = ask(films(100_000), quota, experience=experience(pages=3.0))
    assert found.binds == binds
    assert found.seconds == pytest.approx(seconds, rel=0.01)
    assert {gain.quota for gain in found.gains if gain.seconds < found.seconds * 0.9} == {binds}
    [gain] = [gain for gain in found.gains if gain.quota == binds]
    assert (gain.now, gain.then) == (getattr(quota, binds), 2 * getattr(quota, binds))
    assert found.lanes[0].used[binds] == pytest.approx(1, abs=0.01)


def test_doubling_helps_as_far_as_the_next_quota():
    """With twice the slots the starts bind: two videos a second instead of one, not of two and a half."""
    found = ask(films(100_000), Quota(2.0, 100.0, 75))
    gains = {gain.quota: found.seconds / gain.seconds for gain in found.gains}
    assert gains["concurrent_jobs"] == pytest.approx(1.6, rel=0.01)
    assert gains["start_per_second"] == pytest.approx(1, rel=0.01)
    assert gains["get_per_second"] == pytest.approx(1, rel=0.01)


def test_few_videos_wait_for_the_longest_job_only():
    """No quota binds three videos that start at once."""
    found = ask(films(3), Quota(5.0, 20.0, 20))
    assert found.binds is None
    assert found.seconds == pytest.approx(60.4)


def test_nothing_to_do():
    """No video, no lane that decides; other backfills' queues are none of ours."""
    found = ask(films(3), Quota(5.0, 20.0, 20), shares=Shares(skipped=1.0))
    assert (found.seconds, found.cost_usd, found.lane, found.gains) == (0.0, 0.0, None, [])
    assert ask({}, Quota(5.0, 20.0, 20)).videos == 0
    assert ask({"a": Work(beside=Queue(urgent=100))}, Quota(5.0, 20.0, 20)).seconds == 0


def test_minutes_are_paid_for_what_succeeds():
    """A tenth is skipped, and a fifth of the others fails: 72 of 100 videos of two minutes are paid."""
    found = ask(films(100), Quota(1.0, 20.0, 200), shares=Shares(skipped=0.1, failed=0.2))
    assert (found.videos, found.minutes, found.cost_usd) == (100, pytest.approx(144), pytest.approx(14.4))
    assert found.lanes[0].starts == 90
    assert found.seconds == pytest.approx(89 + 60)


@pytest.mark.parametrize("quota", [Quota(5.0, 20.0, 40), Quota(0.7, 20.0, 400), Quota(5.0, 1.0, 400)])
def test_extrapolation_is_as_good_as_every_event(quota: Quota, monkeypatch: pytest.MonkeyPatch):
    """Thirty thousand videos of many lengths take the same by a sample of a twentieth of them."""
    census, known = Census(), guessed(20.0, 1.0)
    for number in range(30_000):
        census.count(size_bytes=(number * 7_919 % 997 + 1) * GB // 4_000, duration_ms=None)
    monkeypatch.setattr(forecasts, "SAMPLE", 30_000)
    monkeypatch.setattr(forecasts, "MOST_EVENTS", 1_000_000)
    whole = ask(census, quota, experience=known)
    monkeypatch.setattr(forecasts, "SAMPLE", 1_500)
    sampled = ask(census, quota, experience=known)
    assert sampled.seconds == pytest.approx(whole.seconds, rel=0.02)
    assert sampled.binds == whole.binds
    assert sampled.cost_usd == whole.cost_usd


def test_ten_million_videos_are_a_sample(monkeypatch: pytest.MonkeyPatch):
    """However many there are, no more than the sample is worked on event by event."""
    worked_on = []

    def simulate(waiting: Sequence[Task], *rest: Any, **limits: Any) -> Run:
        worked_on.append(len(waiting))
        return simulation.simulate(waiting, *rest, **limits)

    monkeypatch.setattr(forecasts, "simulate", simulate)
    found = ask(films(10**7), Quota(5.0, 20.0, 20), Quota(5.0, 20.0, 20))
    assert found.seconds == pytest.approx(10**7 * 60 / 40, rel=0.01)
    assert sum(worked_on) <= (1 + len(found.gains)) * forecasts.SAMPLE


def test_dry_lanes_take_over():
    """Two lanes of a region end together, however the videos were given to them."""
    quotas = Quota(5.0, 20.0, 20), Quota(5.0, 20.0, 60)
    found = ask({"a": Work(films(30_000)), "b": Work(films(10_000))}, *quotas)
    assert found.seconds == pytest.approx(40_000 * 60 / 80, rel=0.01)
    assert [lane.videos for lane in found.lanes] == [30_000, 10_000]
    assert [lane.starts for lane in found.lanes] == [10_000, 30_000]


def test_every_video_is_given_to_one_lane():
    """Two lanes share four videos of very different lengths: together they work on each of them once."""
    census, slots = Census(), 1
    for minutes in (1, 10, 100, 300):
        census.count(size_bytes=None, duration_ms=minutes * 60_000)
    one = Ratios([(1.0, 1.0, 1.0)])
    known = Experience(200, one, one, Line(0.0, 6.0), one, one, 1_000.0)
    found = ask(census, Quota(5.0, 20.0, slots), Quota(5.0, 20.0, slots), experience=known)
    assert [lane.starts for lane in found.lanes] == [2, 2]
    assert sum(lane.used["concurrent_jobs"] * lane.seconds for lane in found.lanes) == pytest.approx(411 * 6)


def test_longest_lane_decides():
    """Lanes of different regions work apart: the gains are those of the one that ends last."""
    lanes = {"near": Lane("us-east-1", Quota(5.0, 20.0, 20)), "far": Lane("eu-west-1", Quota(5.0, 20.0, 20))}
    work = {"near": Work(films(1_000)), "far": Work(films(10_000))}
    found = predict(Question(lanes, work, experience(), Terms(0.10), LIFE_SECONDS))
    assert found.lane == "far"
    assert found.seconds == pytest.approx(10_000 * 60 / 20, rel=0.01)
    assert found.gains[0].seconds == pytest.approx(10_000 * 60 / 40, rel=0.01)


def test_queues_that_come_first_take_their_time():
    """More urgent videos go first, equally urgent ones take turns until ours are done; neither costs us anything."""
    quota = Quota(5.0, 20.0, 20)
    alone = ask(films(10_000), quota)
    found = ask({"a": Work(films(10_000), beside=Queue(urgent=5_000, equal=90_000))}, quota)
    assert found.lanes[0].ahead == 15_000
    assert found.seconds == pytest.approx(2.5 * alone.seconds, rel=0.01)
    assert found.cost_usd == alone.cost_usd


def test_what_runs_is_counted_and_paid_if_it_is_ours():
    """Of three running jobs two are the backfill's; all of them keep their slots until they end."""
    jobs = [InFlight(GB, 60_000, 20.0, 20.0, is_own=is_own) for is_own in (True, True, False)]
    found = ask({"a": Work(films(1), jobs)}, Quota(5.0, 20.0, 3))
    assert (found.videos, found.minutes) == (3, pytest.approx(4))
    assert found.lanes[0].in_flight == 3
    assert found.seconds == pytest.approx(40 + 60)


def test_videos_of_lanes_that_are_gone():
    """Those in a region that has a lane are taken over by it; others wait, and are told."""
    works = {"old": Work(films(100)), "lost": Work(films(7))}
    found = ask(works, Quota(1.0, 20.0, 200), regions={"old": "us-east-1", "lost": "eu-west-1"})
    assert (found.videos, found.stranded, found.lanes[0].starts) == (107, 7, 100)


def test_results_that_would_expire_are_told():
    """At a page in 10 s no more than 56,160 results are read in their life: beyond it starts wait for them."""
    quota = Quota(50.0, 0.1, 100_000)
    held_back = ask(films(200_000), quota)
    assert held_back.lanes[0].is_held_back
    assert held_back.binds == "get_per_second"
    assert not ask(films(50_000), quota).lanes[0].is_held_back
    assert not ask(films(200_000), Quota(50.0, 0.1, 50_000)).lanes[0].is_held_back


def test_budget_reaches_as_far_as_its_share():
    """$50 of the $200 that a thousand videos cost reach a quarter of them, in a quarter of the time."""
    found = ask(films(1_000), Quota(1.0, 20.0, 200), terms=Terms(0.10, left_usd=50.0))
    assert found.reach is not None
    assert found.reach.videos == 250
    assert found.reach.seconds == pytest.approx(249 + 60)
    assert found.seconds == pytest.approx(999 + 60)


@pytest.mark.parametrize(("left_usd", "videos"), [(None, None), (500.0, 1_000), (0.0, 0), (-3.0, 0)])
def test_budget_that_is_enough_or_gone(left_usd: float | None, videos: int | None):
    """It reaches to the end, or nowhere."""
    found = ask(films(1_000), Quota(1.0, 20.0, 200), terms=Terms(0.10, left_usd=left_usd))
    assert (found.reach and found.reach.videos) == videos


def test_strict_budget_must_have_room_for_the_worst_case():
    """The last job is not started with less than the price of six hours left, $36; $30 start nothing at all."""
    reach = ask(films(1_000), Quota(1.0, 20.0, 200), terms=Terms(0.10, left_usd=86.0, is_strict=True)).reach
    assert reach is not None
    assert reach.videos == 250
    nothing = ask(films(10), Quota(1.0, 20.0, 200), terms=Terms(0.10, left_usd=30.0, is_strict=True)).reach
    assert nothing is not None
    assert nothing.videos == 0

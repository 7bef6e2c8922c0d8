"""From the first 200 settled videos the rest is predicted, by a plan that knows nothing of the service's laws."""

from __future__ import annotations

from random import Random

import pytest

from tests.planning.rehearsal import Archive, Rehearsal
from worker.planning.experience import learned
from worker.planning.prediction import Lane, Question, Terms, Work, predict
from worker.planning.simulation import Quota

SETTLED = 200
WITHIN = 0.15
USD_PER_MINUTE = 0.10

QUOTAS = {
    "concurrent_jobs": Quota(5.0, 20.0, 20),
    "start_per_second": Quota(0.5, 20.0, 200),
    "get_per_second": Quota(5.0, 0.7, 60),
}
"""The quota that binds -> quotas."""

ARCHIVES = {
    "short": Archive(films=2_000, spread_of_minutes=0.5, spread_of_jobs=0.2),
    "long": Archive(films=2_000, median_minutes=6.0, spread_of_minutes=0.6, job_seconds_a_minute=5.0),
}


@pytest.mark.parametrize("binds", QUOTAS)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_rest_is_predicted_from_the_first_two_hundred(archive: str, binds: str):
    """Time, cost and the quota that binds, while jobs run whose length nobody has seen yet."""
    quota = QUOTAS[binds]
    for seed in range(3):
        films = ARCHIVES[archive].made_up(Random(seed))
        rehearsal = Rehearsal(films, quota)
        rehearsal.until_settled(SETTLED)
        in_flight, begun_at = rehearsal.in_flight(), rehearsal.now
        experience = learned(rehearsal.records(), in_flight)
        assert experience is not None
        work = Work(rehearsal.census(), in_flight)
        lanes = {"main": Lane("us-east-1", quota)}
        predicted = predict(Question(lanes, {"main": work}, experience, Terms(USD_PER_MINUTE), 561_600.0))
        rehearsal.until_settled(len(films))
        true_usd = USD_PER_MINUTE * sum(film.minutes for film in films if film.settled_at > begun_at)
        print(f"seed {seed}: {predicted.seconds:,.0f} s of {rehearsal.now - begun_at:,.0f} s,", end=" ")
        print(f"${predicted.cost_usd:,.2f} of ${true_usd:,.2f}")
        assert predicted.binds == binds
        assert predicted.seconds == pytest.approx(rehearsal.now - begun_at, rel=WITHIN)
        assert predicted.cost_usd == pytest.approx(true_usd, rel=WITHIN)

"""What the books say is better stopped: mass failure, a database that was restored, results that grow old."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.store.steps import Steps
from worker.model import Failure
from worker.store.guards import ENOUGH_OUTCOMES, Guards

LIFE_SECONDS = 561_600.0  # 6.5 days
DAY_SECONDS = 86_400.0


async def fail(steps: Steps, job_ids: list[int]) -> None:
    for job_id in job_ids:
        await steps.jobs.fail(Failure(job_id, "failed", "broken", "failed"))


async def pause_reason(steps: Steps) -> str | None:
    return await steps.value("select pause_reason from backfill")


async def test_edge_case_mass_failure_pauses_the_backfill(steps: Steps):
    """At 50 outcomes of which more than a fifth failed the backfill is paused with a sentence, once, and audited."""
    owner, backfill = await steps.own(), await steps.backfill()
    guards = Guards(steps.database)
    failing = await steps.ready(owner, backfill, [f"bad {n}.mp4" for n in range(11)])
    await steps.done(owner, backfill, [f"good {n}.mp4" for n in range(ENOUGH_OUTCOMES - 12)])
    await fail(steps, failing)
    assert await guards.pause_failing() == []  # 49 outcomes
    await steps.done(owner, backfill, ["one more.mp4"])
    (paused,) = await guards.pause_failing()
    assert paused.reason == await pause_reason(steps) == "11 of 50 videos failed"
    assert await guards.pause_failing() == []
    assert await steps.rows("select action, backfill, detail->>'reason' from audit where action = 'pause'") == [
        ("pause", backfill.name, "11 of 50 videos failed")
    ]


async def test_failures_that_an_operator_has_seen_count_no_more(steps: Steps):
    """A resumed backfill is paused again only after as many outcomes more."""
    owner, backfill = await steps.own(), await steps.backfill()
    guards = Guards(steps.database)
    await fail(steps, await steps.ready(owner, backfill, [f"bad {n}.mp4" for n in range(ENOUGH_OUTCOMES)]))
    assert await guards.pause_failing()
    await steps.registry.resume(backfill.name)
    assert await guards.pause_failing() == []
    await fail(steps, await steps.ready(owner, backfill, [f"worse {n}.mp4" for n in range(ENOUGH_OUTCOMES - 1)]))
    assert await guards.pause_failing() == []
    await fail(steps, await steps.ready(owner, backfill, ["last.mp4"]))
    assert await guards.pause_failing()


async def test_a_fifth_of_failures_is_not_a_mass(steps: Steps):
    """10 of 50 go on."""
    owner, backfill = await steps.own(), await steps.backfill()
    await fail(steps, await steps.ready(owner, backfill, [f"bad {n}.mp4" for n in range(10)]))
    await steps.done(owner, backfill, [f"good {n}.mp4" for n in range(40)])
    assert await Guards(steps.database).pause_failing() == []


async def grow_old(steps: Steps, days: float) -> None:
    """Let everything have happened that long ago, the lease's last renewal at the end."""
    for sql in (
        "update lane set worked_at = clock_timestamp() - make_interval(secs => $1)",
        "update video set registered_at = registered_at - make_interval(secs => $1)",
    ):
        await steps.execute(sql, days * DAY_SECONDS)


@pytest.mark.parametrize(("days", "is_suspected"), [(6.0, False), (7.0, True)])
async def test_edge_case_database_older_than_the_tokens(steps: Steps, days: float, is_suspected: bool):
    """The newest trace of work beyond the tokens' life, and older unsettled videos: what was bought may be unknown."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4", "b.mp4"])
    await grow_old(steps, days)
    suspicion = await Guards(steps.database).suspicion(LIFE_SECONDS)
    assert (suspicion is not None) == is_suspected
    if suspicion:
        assert suspicion.videos == 2
        assert suspicion.age_seconds == pytest.approx(days * DAY_SECONDS, abs=60)


async def test_old_database_without_unsettled_videos_is_not_suspected(steps: Steps):
    """What is settled, or was registered since, cannot have been bought unawares."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4"])
    await grow_old(steps, 30)
    await steps.register(backfill, owner, ["new.mp4"])
    assert await Guards(steps.database).suspicion(LIFE_SECONDS) is None


async def test_word_that_nothing_was_bought_ends_the_suspicion(steps: Steps):
    """An operator's word is taken, and audited."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    await grow_old(steps, 8)
    guards = Guards(steps.database)
    suspicion = await guards.suspicion(LIFE_SECONDS)
    assert suspicion
    await guards.accept(suspicion, "not restored", "an operator")
    assert await guards.suspicion(LIFE_SECONDS) is None
    assert await steps.rows("select who, action from audit where action = 'not restored'") == [
        ("an operator", "not restored")
    ]


async def test_videos_of_a_restored_database_are_set_aside(steps: Steps):
    """Pending and claimed videos older than the newest trace become uncertain, others stay; the tallies are true."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=100.0)
    await steps.register(backfill, owner, ["claimed.mp4"])
    await steps.claim(owner, backfill)
    await steps.register(backfill, owner, ["pending.mp4"])
    await steps.running(owner, backfill, ["running.mp4"])
    await grow_old(steps, 8)
    await steps.register(backfill, owner, ["new.mp4"])
    guards = Guards(steps.database)
    suspicion = await guards.suspicion(LIFE_SECONDS)
    assert suspicion
    while await guards.mark_uncertain(suspicion):
        pass
    states = dict(await steps.rows("select key, state from video"))
    assert (
        states
        == {
            "claimed.mp4": "uncertain",
            "pending.mp4": "active",
            "running.mp4": "active",
            "new.mp4": "pending",
        }
        or states["pending.mp4"] == "uncertain"
    )
    _, findings = await steps.reports.verify(None)
    assert findings == []


async def test_restored_database_is_found_by_its_incarnation(steps: Steps):
    """Another cluster or timeline, more than an hour after the work: its backfills are paused when the tokens end."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    guards = Guards(steps.database)
    assert await guards.suspicion(LIFE_SECONDS) is None
    await steps.execute("update deployment set incarnation = 'another'")
    await grow_old(steps, 2)
    assert await guards.suspicion(LIFE_SECONDS) is None  # the tokens are still good
    await steps.execute("update lane set worked_at = clock_timestamp()")  # it is worked on
    await steps.execute("update deployment set restored_from = restored_from - interval '5 days'")
    await steps.execute("update video set registered_at = registered_at - interval '5 days'")
    suspicion = await guards.suspicion(LIFE_SECONDS)
    assert suspicion
    assert suspicion.since < datetime.now(UTC)
    (paused,) = await guards.pause_suspected(suspicion, "restored")
    assert (paused.backfill, await pause_reason(steps)) == (backfill.name, "restored")


async def test_database_that_failed_over_is_not_suspected(steps: Steps):
    """Another timeline within the hour is a failover: what was lost then is found again by its tokens."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    guards = Guards(steps.database)
    await guards.suspicion(LIFE_SECONDS)
    await steps.execute("update deployment set incarnation = 'another'")
    await guards.suspicion(LIFE_SECONDS)
    assert await steps.value("select restored_from from deployment") is None


async def test_oldest_result_is_the_one_started_first(steps: Steps):
    """The age counts from the start of the job, of those whose pages wait; 0 without any."""
    owner, backfill = await steps.own(), await steps.backfill()
    guards = Guards(steps.database)
    assert await guards.oldest_result_seconds(owner.lane_id) == 0
    await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    await steps.execute("update job set started_at = started_at - interval '6 days' where key = 'b.mp4'")
    assert await guards.oldest_result_seconds(owner.lane_id) == pytest.approx(6 * DAY_SECONDS, abs=60)

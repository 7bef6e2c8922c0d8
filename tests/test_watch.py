"""Whether a backfill can go on: a decision from tallies and lanes, without a clock, a database or AWS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from worker.ownership import LaneState
from worker.store.registry import Progress
from worker.watch import look_at

IDLE = Progress(
    pending=0,
    active=0,
    done=0,
    failed=0,
    skipped=0,
    uncertain=0,
    expired=0,
    labels=0,
    spent_usd=0.0,
    reserved_usd=0.0,
    budget_usd=None,
    pause_reason=None,
    is_cancelled=False,
    lanes_pending=[],
    lanes_active=[],
)


def progress(**changes: Any) -> Progress:
    return msgspec.structs.replace(IDLE, **changes)


def owned(*, denied: str | None = None, denials: int = 0, out_of_budget: tuple[str, ...] = ()) -> LaneState:
    """A lane that this process owns, as far as the watch looks at it."""
    denial = SimpleNamespace(reason=denied, times=denials)
    lane: Any = SimpleNamespace(denial=denial, out_of_budget=set(out_of_budget))
    return LaneState("main", lane=lane)


DENIED = owned(denied="AccessDenied: no", denials=2)
WITHOUT_MONEY = owned(out_of_budget=("films",))
AWAY = LaneState("main")
REFUSED = LaneState("main", refusal="InvalidClientTokenId: no", refusals=2)
ELSEWHERE = LaneState("main", other_owner="another")


@pytest.mark.parametrize("states", [{}, {"main": DENIED}, {"main": WITHOUT_MONEY}])
def test_final_backfill_is_over_whatever_the_lanes_say(states: dict[str, LaneState]):
    """With no video left there is nothing to wait for, and no early ending to tell."""
    look = look_at("films", progress(done=3, failed=1, pause_reason="by hand"), states)
    assert look.is_over
    assert look.ending is None


def test_arrivals_are_waited_for_where_they_can_be_taken():
    """Of a lane that is to be taken, or brings some; not of one that others own, or that is refused for good."""
    refused, for_good = LaneState("main"), LaneState("main")
    refused.refuse("no")
    for_good.refuse("no", for_good=True)
    states = (AWAY, refused, for_good, REFUSED, ELSEWHERE, DENIED)
    assert [state.may_have_arrivals for state in states] == [True, True, False, False, False, False]
    for may_have_arrivals in (True, False):
        state = owned()
        state.lane.may_have_arrivals = may_have_arrivals  # type: ignore[union-attr]
        assert state.may_have_arrivals is may_have_arrivals


def test_cancelled_backfill_waits_for_what_runs_only():
    """A cancelled backfill's pending videos never come to an end; its running jobs do."""
    waiting = progress(pending=5, is_cancelled=True, lanes_pending=["main"])
    assert look_at("films", waiting, {"main": owned()}).is_over
    running = progress(pending=5, active=1, is_cancelled=True, lanes_pending=["main"], lanes_active=["main"])
    assert not look_at("films", running, {"main": owned()}).is_over


@pytest.mark.parametrize("state", [owned(), ELSEWHERE, owned(denied="AccessDenied: no", denials=1), AWAY])
def test_work_goes_on_where_a_lane_may_do_it(state: LaneState):
    """A lane that is owned here or elsewhere, was denied once only, or is about to be taken, is waited for."""
    assert not look_at("films", progress(pending=1, lanes_pending=["main"]), {"main": state}).is_over


@pytest.mark.parametrize(
    ("state", "said"), [(DENIED, "lane main is denied (AccessDenied: no)"), (REFUSED, "(InvalidClientTokenId: no)")]
)
def test_denied_lanes_end_it(state: LaneState, said: str):
    """When each lane with work was denied twice, the ending tells AWS's words, even where jobs still run."""
    look = look_at("films", progress(active=1, lanes_active=["main"]), {"main": state})
    assert look.ending is not None
    assert said in look.ending


def test_denied_lanes_are_counted():
    """One of many denied lanes is named, the others are counted."""
    work = progress(pending=3, lanes_pending=["c", "a", "b"])
    ending = look_at("films", work, dict.fromkeys("abc", DENIED)).ending
    assert ending is not None
    assert "lane a is denied, and 2 more likewise" in ending


def test_one_able_lane_keeps_it_going():
    """A denied lane does not end a backfill that another lane has work of."""
    work = progress(pending=2, lanes_pending=["main", "other"])
    assert not look_at("films", work, {"main": DENIED, "other": owned()}).is_over


def test_absent_lanes_end_it():
    """Videos of lanes that are not worked on here are not waited for, and those lanes are named."""
    work = progress(pending=1, active=1, lanes_pending=["gone"], lanes_active=["lost"])
    assert look_at("films", work, {"main": owned()}).ending == (
        "its videos belong to lanes that are not worked on here (gone, lost); add those to the config file"
    )


def test_absent_lane_does_not_end_what_a_present_one_can_do():
    """Work on a lane that is here is done first, whatever belongs to absent ones."""
    work = progress(pending=2, lanes_pending=["gone", "main"])
    assert not look_at("films", work, {"main": owned()}).is_over


def test_paused_backfill_ends_when_nothing_runs_any_more():
    """Pausing lets running jobs end; then the ending says by what word it was paused, and how to go on."""
    running = progress(pending=1, active=1, pause_reason="by hand", lanes_pending=["main"], lanes_active=["main"])
    assert not look_at("films", running, {"main": owned()}).is_over
    waiting = progress(pending=1, pause_reason="by hand", lanes_pending=["main"])
    ending = look_at("films", waiting, {"main": owned()}).ending
    assert ending == "it is paused (by hand); `modworker resume films` lets it go on"


@pytest.mark.parametrize(
    ("spent_usd", "why"), [(9.5, "the next video is expected to cost more"), (12.0, "videos cost more than expected")]
)
def test_reached_budget_ends_it_when_nothing_runs_any_more(spent_usd: float, why: str):
    """What runs may release money that it had reserved; only then the budget is the end."""
    running = progress(pending=1, active=1, budget_usd=10.0, lanes_pending=["main"], lanes_active=["main"])
    assert not look_at("films", running, {"main": WITHOUT_MONEY}).is_over
    waiting = progress(pending=1, budget_usd=10.0, spent_usd=spent_usd, lanes_pending=["main"])
    ending = look_at("films", waiting, {"main": WITHOUT_MONEY}).ending
    assert ending is not None
    assert ending.startswith(f"its budget of $10.00 is reached (${spent_usd:.2f} spent, and {why}")


def test_budget_of_another_backfill_is_no_end():
    """A lane that has no money for one backfill may have some for another."""
    state = owned(out_of_budget=("other",))
    assert not look_at("films", progress(pending=1, lanes_pending=["main"]), {"main": state}).is_over


def test_lanes_that_are_denied_or_without_money_end_it_together():
    """No lane can go on when one is denied and the other finds no money, even where a job runs on the denied one."""
    work = progress(pending=2, active=1, budget_usd=1.0, lanes_pending=["a", "b"], lanes_active=["a"])
    ending = look_at("films", work, {"a": DENIED, "b": WITHOUT_MONEY}).ending
    assert ending is not None
    assert "its budget of $1.00 is reached" in ending

"""Counts become rates, an hour of them is kept."""

from __future__ import annotations

from typing import Any

import pytest

from worker.model import VIDEO_STATES
from worker.web.history import LONGEST_SECONDS, STALE_SECONDS, History


def lane(at: float, **changes: Any) -> dict[str, Any]:
    """A lane as its owner reported it at a time."""
    counts = {"starts": 0, "gets": 0, "throttled": 0}
    return {"name": "main", "owner": "worker", "epoch": 1, "at": at, "start_per_second": 5.0, **counts, **changes}


def backfill(**changes: Any) -> dict[str, Any]:
    """A backfill's books: `done` and `pending` are videos, the others its own fields."""
    videos = {state: changes.pop(state, 0) for state in VIDEO_STATES}
    return {"name": "archive", "videos": videos, "labels": 0, "spent_usd": 0.0, **changes}


def test_rates_are_what_was_counted_between_two_reports():
    """By the owner's clock, however long before or after the samples the reports were made."""
    history = History()
    history.record(1000.0, [], [lane(997.0, starts=10, gets=5)])
    history.record(1005.0, [], [lane(1001.0, starts=30, gets=7, throttled=1)])
    columns = history.since(0)["lanes"]["main"]
    assert (columns["starts"], columns["gets"], columns["throttled"]) == ([5.0], [0.5], [0.25])
    assert columns["start_pace"] == [5.0]


def test_a_rate_goes_on_until_the_next_report_and_ends_with_the_reports():
    """Between two reports nothing is known to be otherwise; after a minute without one nothing is called."""
    history = History()
    report = lane(1004.0, starts=20)
    for at in (1000.0, 1005.0, 1010.0, 1004.0 + STALE_SECONDS + 1):
        history.record(at, [], [lane(1000.0) if at == 1000.0 else report])
    assert history.since(0)["lanes"]["main"]["starts"] == [5.0, 5.0, 0.0]


def test_another_owner_counts_anew():
    """Counts that begin again with another epoch give no rate, and no negative one."""
    history = History()
    history.record(1000.0, [], [lane(1000.0, starts=5, gets=500)])
    history.record(1005.0, [], [lane(1005.0, starts=30, gets=3, epoch=2)])
    history.record(1010.0, [], [lane(1010.0, starts=40, gets=13, epoch=2)])
    history.record(1015.0, [], [lane(1015.0, starts=50, gets=23, epoch=2, owner=None)])
    columns = history.since(0)["lanes"]["main"]
    assert (columns["starts"], columns["gets"]) == ([0.0, 2.0, 0.0], [0.0, 2.0, 0.0])


def test_what_a_backfill_gains_is_told_for_a_second():
    """Videos that ended, labels, money; videos that are tried again count nothing."""
    history = History()
    history.record(1000.0, [backfill(pending=100)], [])
    history.record(1010.0, [backfill(pending=60, done=30, failed=10, labels=500, spent_usd=2.0)], [])
    history.record(1020.0, [backfill(pending=70, done=30, labels=500, spent_usd=2.0)], [])
    columns = history.since(0)["backfills"]["archive"]
    assert columns == {"videos": [4.0, 0.0], "labels": [50.0, 0.0], "usd": [0.2, 0.0]}


def test_backfills_that_are_over_and_lanes_that_are_new_have_gaps():
    """Every column is as long as that of the times."""
    history = History()
    history.record(1000.0, [backfill(done=1)], [])
    history.record(1005.0, [backfill(done=1)], [lane(1005.0)])
    history.record(1010.0, [backfill(done=1, pending=1)], [lane(1010.0)])
    told = history.since(0)
    assert told["at"] == [1005.0, 1010.0]
    assert told["backfills"]["archive"]["videos"] == [None, 0.0]
    assert len(told["lanes"]["main"]["starts"]) == 2


def test_only_what_is_new_is_told_and_only_an_hour_is_kept():
    """A viewer asks for what came after his latest sample."""
    history = History()
    for number in range(int(LONGEST_SECONDS / 5) + 100):
        history.record(1000.0 + 5 * number, [backfill(pending=1)], [lane(1000.0 + 5 * number)])
    at = history.since(0)["at"]
    assert at[-1] - at[0] == pytest.approx(LONGEST_SECONDS)
    assert history.since(at[-3])["at"] == at[-2:]
    assert history.since(at[-1]) == {"at": [], "lanes": {}, "backfills": {}}

"""A backlog of results is bounded by their life at AWS."""

from __future__ import annotations

from worker.flow.backlog import RESUMING, Backlog

LIFE_SECONDS = 1000.0


def test_more_than_can_be_read_in_time_is_too_long():
    """Ten thousand results of two pages at 20 pages a second take a thousand seconds; one more is too many."""
    backlog = Backlog(LIFE_SECONDS)
    assert not backlog.look(results=10_000, pages_a_result=2.0, pages_per_second=20.0)
    assert backlog.seconds == LIFE_SECONDS
    assert not backlog.is_too_long
    assert backlog.look(results=10_001, pages_a_result=2.0, pages_per_second=20.0)
    assert backlog.is_too_long


def test_throttled_reading_makes_it_longer():
    """What can be read is judged by the rate that AWS grants, not by the one that is configured."""
    backlog = Backlog(LIFE_SECONDS)
    backlog.look(results=10_000, pages_a_result=1.0, pages_per_second=20.0)
    assert not backlog.is_too_long
    assert backlog.look(results=10_000, pages_a_result=1.0, pages_per_second=5.0)


def test_buying_goes_on_when_some_of_it_was_read():
    """A verdict stands until a tenth of the life is free again."""
    backlog = Backlog(LIFE_SECONDS)
    backlog.look(results=1_001, pages_a_result=1.0, pages_per_second=1.0)
    assert not backlog.look(results=950, pages_a_result=1.0, pages_per_second=1.0)
    assert backlog.is_too_long
    assert backlog.look(results=int(LIFE_SECONDS * RESUMING), pages_a_result=1.0, pages_per_second=1.0)
    assert not backlog.is_too_long

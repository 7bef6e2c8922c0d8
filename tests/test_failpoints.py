"""Places where tests end the process or lose an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker import failpoints
from worker.failpoints import arm, around, passing


@pytest.fixture(autouse=True)
def unarmed() -> Iterator[None]:
    """Nothing stays armed."""
    yield
    failpoints._armed.clear()


def test_place_that_is_not_armed_does_nothing():
    """A place without an action is passed."""
    passing("anywhere")
    with around("anything"):
        pass


def test_armed_place_acts_each_time_it_is_passed():
    """The action happens at its place and at no other."""
    passed: list[str] = []
    arm("call: before", lambda: passed.append("before"))
    arm("call: after", lambda: passed.append("after"))
    for _ in range(2):
        with around("call"):
            passed.append("called")
    with around("another call"):
        pass
    assert passed == ["before", "called", "after"] * 2


def test_place_behind_a_block_that_failed_is_not_passed():
    """What raised has no answer that could be lost."""
    passed: list[str] = []
    arm("call: after", lambda: passed.append("after"))
    with pytest.raises(OSError, match="lost"), around("call"):
        raise OSError("lost")
    assert passed == []

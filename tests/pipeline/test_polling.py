"""Polls of a queue: as many as its messages need, and no more."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from tests.system.small_aws import SmallAws
from worker.flow.clock import now_seconds
from worker.lane import Lane
from worker.pipeline import polling
from worker.pipeline.polling import received

LONG_SECONDS, SHORT_SECONDS = 60.0, 0.2


@pytest.fixture
def held(lane: Lane) -> Lane:
    """The lane, which may call."""
    lane.lease_renewed(now_seconds())
    return lane


async def test_a_full_poll_is_followed_at_once_and_another_after_a_rest(
    held: Lane, aws: SmallAws, monkeypatch: pytest.MonkeyPatch
):
    """A backlog is taken as fast as the queue gives it; messages that come one by one are no reason for a poll each."""
    monkeypatch.setattr(polling, "OTHERS_SECONDS", LONG_SECONDS)
    aws.messages = [10, 10, 3]
    async with aclosing(received(held, held.queue, held.queue_denial, pollers=2)) as polls:
        with anyio.fail_after(LONG_SECONDS / 2):
            assert [len(await anext(polls)) for _ in aws.messages.copy()] == [10, 10, 3]
        with anyio.move_on_after(SHORT_SECONDS):
            await anext(polls)
    assert aws.calls.count("ReceiveMessage") == 3


@pytest.mark.parametrize("pollers", [1, 2, 4])
async def test_poller_rests_for_the_others(held: Lane, aws: SmallAws, monkeypatch: pytest.MonkeyPatch, pollers: int):
    """However many a queue has, together they poll as often as one would; one alone makes no message wait."""
    monkeypatch.setattr(polling, "OTHERS_SECONDS", SHORT_SECONDS if pollers > 1 else LONG_SECONDS)
    aws.messages = [1, 1]
    async with aclosing(received(held, held.queue, held.queue_denial, pollers=pollers)) as polls:
        await anext(polls)
        begun_at = anyio.current_time()
        with anyio.fail_after(LONG_SECONDS / 2):
            await anext(polls)
    assert anyio.current_time() - begun_at >= 0.9 * SHORT_SECONDS * (pollers - 1)

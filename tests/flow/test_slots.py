"""Slots in virtual time: taken by job id, bounded by a limit that gives way to refusals and is probed upward."""

from __future__ import annotations

from itertools import count

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.flow.slots import SECONDS_AFTER_REFUSAL, SECONDS_TO_PROBE, Slots


async def test_adopted_jobs_may_exceed_the_limit():
    """Jobs found at a takeover are counted even above the limit, and nothing is free until enough have ended."""
    slots = Slots(2)
    slots.adopt({1, 2, 3})
    assert (slots.used, slots.free) == (3, 0)
    for job_id in (1, 2):
        slots.give_back(job_id)
    assert (slots.used, slots.free) == (1, 1)


async def test_job_that_has_a_slot_takes_no_second_one():
    """A replayed job that was adopted goes on at once, although no slot is free."""
    slots = Slots(1)
    slots.adopt({7})
    with anyio.fail_after(1):
        await slots.take(7)
    assert slots.used == 1


async def test_giving_back_twice_frees_one_slot():
    """A slot is given back by job id: the second time changes nothing."""
    slots = Slots(2)
    await slots.take(1)
    await slots.take(2)
    slots.give_back(1)
    slots.give_back(1)
    assert (slots.used, slots.free) == (1, 1)


async def test_waiting_takers_go_on_as_slots_come_free():
    """Each slot that is given back lets one of the waiting takers go on, and no more than the limit run."""
    slots, running, most = Slots(3), set[int](), 0

    async def job(job_id: int) -> None:
        nonlocal most
        await slots.take(job_id)
        running.add(job_id)
        most = max(most, len(running))
        await anyio.sleep(1)
        running.discard(job_id)
        slots.give_back(job_id)

    begun_at = anyio.current_time()
    async with anyio.create_task_group() as jobs:
        for job_id in range(30):
            jobs.start_soon(job, job_id)
    assert most == 3
    assert anyio.current_time() - begun_at == pytest.approx(10, abs=0.1)


async def test_refusal_lowers_the_limit_to_what_runs():
    """When AWS says that no slot is free, only as many jobs may run as run now."""
    slots = Slots(20)
    slots.adopt({1, 2, 3})
    await slots.take(4)
    slots.refused(4, anyio.current_time())
    assert (slots.limit, slots.used, slots.free) == (3, 3, 0)
    slots.give_back(1)
    with anyio.fail_after(1):
        await slots.take(4)


async def test_some_slots_are_left_to_others_who_have_the_rest():
    """Only where AWS announces more than runs here: what is the account's own limit is used to the last slot."""
    for used, announced, limit in ((16, 20, 14), (16, 16, 16), (16, None, 16), (4, 20, 3), (1, 20, 1), (0, 20, 0)):
        slots = Slots(20)
        slots.adopt(set(range(used)))
        slots.refused(99, anyio.current_time(), announced)
        assert slots.limit == limit


async def test_account_that_others_fill_is_probed_not_hammered():
    """With nothing of ours running and all slots refused, the next try waits for the probe."""
    slots = Slots(20)
    await slots.take(1)
    begun_at = anyio.current_time()
    slots.refused(1, begun_at)
    await slots.take(1)
    assert anyio.current_time() - begun_at == pytest.approx(SECONDS_AFTER_REFUSAL, abs=0.1)


async def test_limit_is_probed_upward_to_the_ceiling():
    """While probes go well the limit rises step by step, reaches the ceiling and stays there."""
    slots = Slots(8)
    slots.adopt({1, 2})
    slots.refused(3, anyio.current_time())
    limits = [slots.limit]
    for job_id in range(10, 16):
        await slots.take(job_id)
        limits.append(slots.limit)
    assert limits == [2, 3, 5, 5, 8, 8, 8]
    with pytest.raises(TimeoutError), anyio.fail_after(1000):
        await slots.take(99)


async def test_announced_limit_is_not_probed_beyond():
    """A lower limit that AWS names holds for good, a higher one changes nothing; another ceiling is tried anew."""
    slots = Slots(20)
    slots.adopt(set(range(5)))
    slots.refused(99, anyio.current_time(), announced=7)
    await anyio.sleep(1000)
    for job_id in (5, 6):
        await slots.take(job_id)
    with pytest.raises(TimeoutError), anyio.fail_after(1000):
        await slots.take(7)
    assert (slots.used, slots.limit) == (7, 7)
    slots.set_ceiling(30)
    with anyio.fail_after(100):
        for job_id in range(7, 30):
            await slots.take(job_id)
    slots.refused(29, anyio.current_time(), announced=1000)
    with anyio.fail_after(100):
        await slots.take(29)


async def test_account_that_announces_none_is_still_probed():
    """An account without a slot for us may have one later."""
    slots = Slots(3)
    slots.refused(1, anyio.current_time(), announced=0)
    with anyio.fail_after(SECONDS_AFTER_REFUSAL + 1):
        await slots.take(1)


@settings(max_examples=50, deadline=None)
@given(ceiling=st.integers(1, 1000), share=st.floats(0, 1))
async def test_slots_are_all_in_use_within_a_minute_after_others_left(ceiling: int, share: float):
    """However many slots others left to us, all of them are used a minute after they have gone."""
    slots, job_ids = Slots(ceiling), count()
    slots.adopt({next(job_ids) for _ in range(round(ceiling * share))})
    slots.refused(next(job_ids), anyio.current_time())
    with anyio.fail_after(SECONDS_AFTER_REFUSAL + 4 * SECONDS_TO_PROBE + 1):
        while slots.used < ceiling:
            await slots.take(next(job_ids))


async def test_other_ceiling_lets_those_go_on_who_wait():
    """A raised ceiling is used at once, a lowered one ends nothing; a limit of the account's own outlives both."""
    slots = Slots(1)
    await slots.take(1)
    with anyio.fail_after(0.1):
        async with anyio.create_task_group() as takers:
            takers.start_soon(slots.take, 2)
            await checkpoint()
            slots.set_ceiling(3)
    slots.set_ceiling(1)
    assert (slots.used, slots.limit) == (2, 1)
    slots.give_back(2)
    slots.set_ceiling(5)
    slots.refused(9, anyio.current_time())
    slots.set_ceiling(8)
    assert (slots.limit, slots.ceiling) == (1, 8)


async def test_taker_that_goes_away_takes_no_slot():
    """A taker that is cancelled while it waits holds nothing."""
    slots = Slots(1)
    await slots.take(1)
    with anyio.move_on_after(1):
        await slots.take(2)
    await checkpoint()
    assert slots.used == 1
    slots.give_back(1)
    assert slots.free == 1


@given(
    st.lists(st.tuples(st.sampled_from(["adopt", "give_back", "refused"]), st.integers(0, 9)), max_size=60),
    st.integers(1, 6),
)
def test_counts_hold_whatever_happens(steps: list[tuple[str, int]], ceiling: int):
    """Used slots are the jobs adopted and not given back; the limit never leaves 0 to the ceiling."""
    slots, expected = Slots(ceiling), set[int]()
    for i, (step, job_id) in enumerate(steps):
        if step == "adopt":
            slots.adopt({job_id})
            expected.add(job_id)
        elif step == "give_back":
            slots.give_back(job_id)
            expected.discard(job_id)
        else:
            slots.refused(job_id, float(i))
            expected.discard(job_id)
        assert slots.used == len(expected)
        assert 0 <= slots.limit <= ceiling
        assert slots.free == max(0, slots.limit - slots.used)

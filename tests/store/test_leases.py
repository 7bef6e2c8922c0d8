"""Lanes: registered once, owned by one process at a time, by the database's clock."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.store.steps import ACCOUNT, REGION, Steps
from worker.errors import UsageError
from worker.store.database import SQL
from worker.store.leases import Holder, LaneHolder


def process(name: str = "worker") -> Holder:
    """A new process."""
    return Holder(uuid.uuid4(), name)


async def acquire(steps: Steps, lane_id: int, holder: Holder, seconds: float = 300.0) -> LaneHolder | None:
    """Try to take the lane in the usual account."""
    return await steps.leases.acquire(lane_id, holder, seconds, ACCOUNT)


async def renew(steps: Steps, owner: LaneHolder, seconds: float = 300.0) -> bool | None:
    """Renew over a connection made for it."""
    async with steps.leases.connection() as connection:
        return await connection.renew(owner, seconds, {"throttled": 3}, within_seconds=5)


async def test_lane_is_registered_once_and_uses_up_one_number(steps: Steps):
    """However often and by how many a lane is registered, it is one row with the next number."""
    rows = await asyncio.gather(*(steps.leases.register("main", REGION) for _ in range(20)))
    for _ in range(50):
        await steps.leases.register("main", REGION)
    assert len({row.id for row in rows}) == 1
    assert (await steps.leases.register("other", REGION)).id <= rows[0].id + 20


async def test_looked_for_lane_uses_up_no_number(steps: Steps):
    """Weeks of restarts do not exhaust the lane's smallint."""
    first = await steps.leases.register("main", REGION)
    for _ in range(50):
        await steps.leases.register("main", REGION)
        await steps.leases.channels(first.id, "topic", "role")
    assert (await steps.leases.register("other", REGION)).id == first.id + 1
    (channel,) = await steps.leases.channels(first.id, "topic", "role")
    newer, older = await steps.leases.channels(first.id, "newer topic", "role")
    assert (newer.id, older) == (channel.id + 1, channel)


async def test_lane_of_another_region_is_refused(steps: Steps):
    """A lane's name stands for one region for ever."""
    await steps.leases.register("main", REGION)
    with pytest.raises(UsageError, match="lane main is registered in us-east-1, the config file says eu-west-1"):
        await steps.leases.register("main", "eu-west-1")


async def test_given_channel_comes_first(steps: Steps):
    """Of all channels that the lane ever used, the configured one is told first, even if it is an old one."""
    lane = await steps.leases.register("main", REGION)
    for topic in ("first", "second", "third"):
        await steps.leases.channels(lane.id, topic, "role")
    channels = await steps.leases.channels(lane.id, "second", "role")
    assert [channel.topic_arn for channel in channels] == ["second", "third", "first"]


async def test_one_of_many_takes_the_lane(steps: Steps):
    """Of twenty processes that try at once, one owns the lane; the others are told who."""
    lane = await steps.leases.register("main", REGION)
    owners = await asyncio.gather(*(acquire(steps, lane.id, process(f"worker{i}")) for i in range(20)))
    (owner,) = filter(None, owners)
    assert owner.epoch == 1
    assert await steps.leases.owner_of(lane.id) == f"worker{owners.index(owner)}"


async def test_lane_that_was_given_back_is_free_at_once(steps: Steps):
    """The next owner has the next epoch; what the earlier one does with its lease then changes nothing."""
    lane = await steps.leases.register("main", REGION)
    earlier = await acquire(steps, lane.id, process())
    assert earlier
    await steps.leases.release(earlier)
    assert await steps.leases.owner_of(lane.id) is None
    assert await renew(steps, earlier) is False  # a renewal that was still under way
    owner = await acquire(steps, lane.id, process("next"))
    assert owner
    assert owner.epoch == 2
    await steps.leases.release(earlier)
    assert await renew(steps, earlier) is False
    assert await steps.leases.owner_of(lane.id) == "next"


async def test_late_renewal_succeeds_while_nobody_has_taken_the_lane(steps: Steps):
    """An expired lease is renewed by its holder as long as it is free, and not after a takeover."""
    lane = await steps.leases.register("main", REGION)
    earlier = await acquire(steps, lane.id, process(), seconds=0.01)
    assert earlier
    await asyncio.sleep(0.02)
    assert await steps.leases.owner_of(lane.id) is None
    assert await renew(steps, earlier, seconds=0.01)
    await asyncio.sleep(0.02)
    assert await acquire(steps, lane.id, process())
    assert await renew(steps, earlier) is False


async def test_acquisition_whose_answer_was_lost_is_repeated(steps: Steps):
    """A process does not stand by for itself: it takes its own lease again, under the next epoch."""
    lane, holder = await steps.leases.register("main", REGION), process()
    first, second = await acquire(steps, lane.id, holder), await acquire(steps, lane.id, holder)
    assert first
    assert second
    assert second.epoch == first.epoch + 1
    assert await renew(steps, first) is False
    assert await renew(steps, second)


async def test_lane_is_pinned_to_the_account_of_its_first_owner(steps: Steps):
    """Another account under the same name is refused, even when the lane is free."""
    lane = await steps.leases.register("main", REGION)
    owner = await acquire(steps, lane.id, process())
    assert owner
    with pytest.raises(UsageError, match=f"belongs to account {ACCOUNT}, the credentials to 999999999999"):
        await steps.leases.acquire(lane.id, process(), 300.0, "999999999999")
    await steps.leases.release(owner)
    with pytest.raises(UsageError, match="use the other credentials"):
        await steps.leases.acquire(lane.id, process(), 300.0, "999999999999")
    assert (await steps.leases.register("main", REGION)).account_id == ACCOUNT


async def test_takeover_waits_for_a_money_decision_and_a_renewal_does_not(steps: Steps):
    """While a claim is being committed, its lane is renewed at once but taken by another process only afterwards."""
    earlier, backfill = await steps.own(lease_seconds=0.01), await steps.backfill()
    await steps.register(backfill, earlier, ["a.mp4"])
    arguments = (backfill.id, earlier.lane_id, earlier.holder, earlier.epoch)
    async with steps.database.transaction("another") as deciding:
        assert await deciding.fetchrow(SQL["lock_tally_if_owner"], *arguments)
        assert await renew(steps, earlier, seconds=0.01)
        await asyncio.sleep(0.02)
        takeover = asyncio.create_task(acquire(steps, earlier.lane_id, process()))
        await steps.until_somebody_waits()
        assert not takeover.done()
    assert await takeover
    assert await steps.database.pool.fetchrow(SQL["lock_tally_if_owner"], *arguments) is None


async def test_renewal_that_gets_no_answer_in_time_says_so(steps: Steps):
    """When the database is stuck, the renewal is neither a success nor a loss, and the next one works again."""
    owner = await steps.own()
    async with steps.leases.connection() as connection:
        async with steps.database.transaction("another") as stuck:
            await stuck.execute("select from lane where id = $1 for update", owner.lane_id)
            assert await connection.renew(owner, 300.0, {}, within_seconds=0.1) is None
        assert await connection.renew(owner, 300.0, {"throttled": 3}, within_seconds=5)
    (lane,) = await steps.reports.lanes()
    assert (lane["owner"], lane["epoch"], lane["throttled"]) == ("worker-of-main", 1, 3)


async def test_lease_from_before_the_databases_clock_was_set_back_is_no_lease(steps: Steps):
    """A lease that ends later than any lease can is taken over at once, instead of when the clock has caught up."""
    lane = await steps.leases.register("main", REGION)
    assert await acquire(steps, lane.id, process())
    assert await acquire(steps, lane.id, process()) is None
    await steps.execute("update lane set expires_at = expires_at + interval '1 hour'")
    assert await acquire(steps, lane.id, process())

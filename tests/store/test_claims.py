"""Claims and intents: in order, fenced by the lease, exact in money, and each object bought once."""

from __future__ import annotations

import asyncio
import random
import uuid
from decimal import Decimal

import pytest
from msgspec.structs import replace

from tests.store.steps import ACCOUNT, MINUTE_MS, REGION, SIZE_BYTES, Steps, intent_for, page, price, seen
from worker.flow.estimate import LONGEST_MINUTES, expected_usd
from worker.model import Backfill, Failure, tag_of, token_of
from worker.store.claims import Verdicted
from worker.store.database import SQL
from worker.store.leases import Holder


def keys(count: int, prefix: str = "v") -> list[str]:
    """Keys in the order of their registration."""
    return [f"{prefix}{i:04}.mp4" for i in range(count)]


async def test_videos_are_claimed_in_order_from_a_position_on(steps: Steps):
    """Claims bring the videos in the order of their registration, each once, and say where the next one begins."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(25))
    found, position = [], 0
    for _ in range(4):
        claimed = await steps.claim(owner, backfill, limit=10, after=position)
        position = claimed.position
        found.append([video.object.key for video in claimed.videos])
    assert [len(claim) for claim in found] == [10, 10, 5, 0]
    assert [key for claim in found for key in claim] == keys(25)


async def test_videos_that_came_back_lie_behind_the_position(steps: Steps):
    """What was given back is found by a claim from the beginning, not by one from the position."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(3))
    claimed = await steps.claim(owner, backfill, limit=2)
    await steps.claims.give_back(owner, [video.id for video in claimed.videos])
    beyond = await steps.claim(owner, backfill, after=claimed.position)
    assert [video.object.key for video in beyond.videos] == keys(3)[2:]
    again = await steps.claim(owner, backfill)
    assert [(video.object.key, video.claims) for video in again.videos] == [(key, 1) for key in keys(2)]


async def test_more_urgent_backfills_come_first(steps: Steps):
    """Backfills with something to claim are told by priority, then by age; paused and empty ones are left out."""
    owner = await steps.own()
    for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5), ("paused", 9), ("empty", 9)):
        backfill = await steps.backfill(name, priority=priority)
        await steps.register(backfill, owner, [] if name == "empty" else ["a.mp4"])
    await steps.registry.pause("paused", "by hand")
    found = await steps.claims.claimable(owner.lane_id)
    assert [backfill.name for backfill in found] == ["high", "first", "second", "low"]


async def test_process_that_lost_the_lane_claims_nothing_and_intends_nothing(steps: Steps):
    """After a takeover the earlier owner's claims and intents change nothing."""
    earlier, backfill = await steps.own(lease_seconds=0.01), await steps.backfill()
    await steps.register(backfill, earlier, keys(4))
    claimed = await steps.claim(earlier, backfill, limit=2)
    await asyncio.sleep(0.02)
    owner = await steps.own()
    assert (await steps.claim(earlier, backfill)).videos == []
    committed = await steps.intend(earlier, backfill, claimed.videos)
    assert (committed.jobs, committed.returned) == ([], [])
    assert await steps.value("select count(*) from job") == 0
    assert await steps.claims.recover(owner, []) == 2
    assert [len((await steps.claim(owner, backfill)).videos) for _ in range(4)] == [1, 1, 2, 0]


async def test_earlier_epoch_of_the_same_process_claims_nothing(steps: Steps):
    """A process that has taken its lane anew does nothing for what began under the epoch before."""
    lane, holder, backfill = (
        await steps.leases.register("main", REGION),
        Holder(uuid.uuid4(), "me"),
        await steps.backfill(),
    )
    epochs = [await steps.leases.acquire(lane.id, holder, 600.0, ACCOUNT) for _ in range(2)]
    earlier, later = filter(None, epochs)
    await steps.register(backfill, later, keys(2))
    assert (await steps.claim(earlier, backfill)).videos == []
    assert len((await steps.claim(later, backfill)).videos) == 2


async def test_takeover_sees_every_intent_of_the_earlier_owner(steps: Steps):
    """A takeover waits for an intent that is being committed, so that it is not left behind for nobody to start."""
    earlier, backfill = await steps.own(lease_seconds=0.01), await steps.backfill()
    await steps.register(backfill, earlier, keys(20))
    videos = (await steps.claim(earlier, backfill)).videos
    committing = [asyncio.create_task(steps.intend(earlier, backfill, [video])) for video in videos]
    await asyncio.sleep(0.02)  # the lease is over, whatever has been committed by now
    owner = await steps.own()
    inherited = await steps.jobs.intents(owner.lane_id)
    await asyncio.gather(*committing)
    assert await steps.value("select count(*) from job") == len(inherited)
    await steps.claims.recover(owner, [])


async def test_reservations_move_from_video_to_job_to_nowhere_without_a_rest(steps: Steps):
    """Awkward amounts are reserved, moved, given back and spent exactly: `verify` compares to the last digit."""
    rng = random.Random(7)
    amounts = [0.1, 0.2, 1 / 3, 2 / 3, 1e-7, 12345.678901234, *(rng.uniform(0, 40) for _ in range(10))]
    owner, backfill = await steps.own(), await steps.backfill(price_usd_per_minute=0.123457)
    await steps.register(backfill, owner, keys(60))
    claimed = await steps.claims.claim(owner, backfill, after=0, limit=60, estimate=lambda *_: rng.choice(amounts))
    reserved = sum(Decimal(str(round(video.reserved_usd, 6))) for video in claimed.videos)
    assert await steps.money(backfill) == (0, reserved)
    await steps.claims.give_back(owner, [video.id for video in claimed.videos[:10]])
    channel = await steps.channel(owner)
    intents = [intent_for(video) for video in claimed.videos[10:50]]
    committed = await steps.claims.commit_intents(owner, backfill, channel, intents, lambda *_: rng.choice(amounts))
    await steps.claims.settle([Verdicted(video.id, "skipped", "gone") for video in claimed.videos[50:]])
    assert (await steps.reports.verify(None))[1] == []
    await steps.start(committed.jobs)
    for job in committed.jobs[:20]:
        await steps.jobs.fail(Failure(job.id, "failed", "no", "failed"))
    await steps.finish(owner, committed.jobs)
    await steps.pages.write([page(job.id, duration_ms=rng.randrange(10**7)) for job in committed.jobs[20:]])
    _, reserved = await steps.money(backfill)
    assert reserved == 0


async def test_budget_is_used_to_the_last_cent_and_not_beyond(steps: Steps):
    """A budget of one dollar takes exactly ten videos of ten cents, although 0.1 is no binary number."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=1.0)
    await steps.register(backfill, owner, keys(30))
    first = await steps.claim(owner, backfill, limit=4, usd=0.1)
    second = await steps.claim(owner, backfill, limit=20, usd=0.1, after=first.position)
    third = await steps.claim(owner, backfill, usd=0.1)
    assert [(len(c.videos), c.is_out_of_budget) for c in (first, second, third)] == [(4, False), (6, True), (0, True)]
    assert await steps.money(backfill) == (0, Decimal("1.0"))


async def test_video_too_dear_for_the_rest_is_left_with_those_behind_it(steps: Steps):
    """Videos are taken in order as far as the budget reaches: a cheap one does not overtake a dear one."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=10.0)
    await steps.register(backfill, owner, keys(4))
    usd = iter([4.0, 5.0, 3.0, 1.0])
    claimed = await steps.claims.claim(owner, backfill, after=0, limit=4, estimate=lambda *_: next(usd))
    assert [video.reserved_usd for video in claimed.videos] == [4.0, 5.0]
    assert claimed.is_out_of_budget


async def test_strict_budget_takes_only_what_cannot_overrun_it(steps: Steps):
    """Under a strict budget each video reserves the price of the longest one."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=100.0, budget="strict")
    await steps.register(backfill, owner, keys(9), size_bytes=1000)

    def estimate(backfill: Backfill, size_bytes: int | None, duration_ms: int | None) -> float:
        return expected_usd(backfill, size_bytes=size_bytes, duration_ms=duration_ms, learned_minutes_per_gb=None)

    claimed = await steps.claims.claim(owner, backfill, after=0, limit=9, estimate=estimate)
    assert [video.reserved_usd for video in claimed.videos] == [LONGEST_MINUTES * 0.1] * 2
    assert claimed.is_out_of_budget


async def test_lanes_that_claim_at_once_share_a_budget_exactly(steps: Steps):
    """Eight lanes that claim and intend at the same time use up the budget of all, and not a cent more."""
    owners = [await steps.own(f"lane{i}") for i in range(8)]
    backfill = await steps.backfill(budget_usd=21.0)
    for i, owner in enumerate(owners):
        await steps.register(backfill, owner, keys(20, f"lane{i}/"))

    async def work(i: int) -> int:
        count, position = 0, 0
        for _ in range(8):
            claimed = await steps.claim(owners[i], backfill, limit=3, after=position)
            position = claimed.position
            count += len((await steps.intend(owners[i], backfill, claimed.videos)).jobs)
        return count

    assert sum(await asyncio.gather(*map(work, range(8)))) == 21
    assert await steps.money(backfill) == (0, 21)


async def test_most_claims_touch_no_row_that_other_lanes_need(steps: Steps):
    """While plenty of the budget is left, a claim fits into what the lane is allowed already."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=1000.0)
    await steps.register(backfill, owner, keys(12))
    position = (await steps.claim(owner, backfill, limit=2)).position
    async with steps.database.transaction("another") as other:
        await other.execute("select from backfill where id = $1 for no key update", backfill.id)
        async with asyncio.timeout(5):
            claimed = await steps.claim(owner, backfill, limit=10, after=position)
    assert len(claimed.videos) == 10


async def test_allowance_that_a_lane_does_not_use_is_taken_back(steps: Steps):
    """What one lane was allowed, but did not spend since its videos were cheaper, can be spent by another one."""
    one, other = await steps.own("one"), await steps.own("other")
    backfill = await steps.backfill(budget_usd=10.0)
    await steps.register(backfill, other, keys(30, "other/"))
    await steps.register(backfill, one, keys(1, "one/"))
    (video,) = (await steps.claim(one, backfill, usd=9.0)).videos
    assert len((await steps.claim(other, backfill, usd=1.0)).videos) == 1
    (job,) = (await steps.intend(one, backfill, [video], usd=9.0)).jobs
    await steps.start([job])
    await steps.finish(one, [job])
    await steps.pages.write([page(job.id)])  # one minute at ten cents
    assert len((await steps.claim(other, backfill, usd=1.0)).videos) == 8


async def test_what_a_lane_was_allowed_may_be_gone(steps: Steps):
    """Jobs of one lane turn out so dear that nothing is left for another, which was allowed more than it has used."""
    first, second = await steps.own("first"), await steps.own("second")
    backfill = await steps.backfill(budget_usd=100.0)
    await steps.register(backfill, first, ["a.mp4", "b.mp4"])
    assert len((await steps.claim(first, backfill, limit=1)).videos) == 1
    (dear,) = await steps.ready(second, backfill, ["dear.mp4"])
    await steps.pages.write([page(dear, duration_ms=1000 * MINUTE_MS)])
    claimed = await steps.claim(first, backfill)
    assert (claimed.videos, claimed.is_out_of_budget) == ([], True)


async def test_changed_budget_holds_from_the_next_claim_on(steps: Steps):
    """A lowered budget stops the claiming although the lane was allowed more; a raised one lets it go on."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=1000.0)
    await steps.register(backfill, owner, keys(30))
    await steps.claim(owner, backfill, limit=5)
    await steps.backfill(budget_usd=3.0)
    assert (await steps.claim(owner, backfill)).is_out_of_budget
    await steps.backfill(budget_usd=7.0)
    assert len((await steps.claim(owner, backfill)).videos) == 2


async def test_video_that_head_made_too_dear_goes_back(steps: Steps):
    """When the true sizes exceed the budget, the first intents are committed and the other videos return to pending."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=10.0)
    await steps.register(backfill, owner, keys(5))
    videos = (await steps.claim(owner, backfill, usd=2.0)).videos
    assert len(videos) == 5
    committed = await steps.intend(owner, backfill, videos, usd=4.0)
    assert len(committed.jobs) == 2
    assert committed.returned == [video.id for video in videos[2:]]
    assert await steps.states(backfill) == ["active"] * 2 + ["pending"] * 3
    assert await steps.money(backfill) == (0, 8)


async def test_cheaper_than_expected_frees_money_at_the_intent(steps: Steps):
    """When HEAD finds small objects, the difference can be claimed at once."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=10.0)
    await steps.register(backfill, owner, keys(30))
    claimed = await steps.claim(owner, backfill, usd=2.0)
    committed = await steps.intend(owner, backfill, claimed.videos, usd=0.5)
    assert len(committed.jobs) == 5
    assert len((await steps.claim(owner, backfill, usd=0.5)).videos) == 15


async def test_intents_carry_what_the_start_needs(steps: Steps):
    """A committed intent tells the object, the settings, the channel, and tag and token made of the identity alone."""
    owner, backfill = await steps.own(), await steps.backfill(min_confidence=60.0)
    await steps.register(backfill, owner, ["a.mp4"])
    (video,) = (await steps.claim(owner, backfill)).videos
    (job,) = (await steps.intend(owner, backfill, [video])).jobs
    token = token_of(intent_for(video).identity, 1)
    assert (job.token, job.tag, job.key, job.version_id, job.min_confidence) == (
        token,
        tag_of(token),
        "a.mp4",
        "v1",
        60,
    )
    assert (job.channel.topic_arn, job.is_replay) == ("topic-of-main", False)
    assert [replayed.is_replay for replayed in await steps.jobs.intents(owner.lane_id)] == [True]


async def test_second_video_of_an_object_in_one_batch_attaches(steps: Steps):
    """Two videos of a batch that name the same version of an object buy one job, and both settle with it."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4", "b.mp4"])
    videos = (await steps.claim(owner, backfill)).videos
    same = [intent_for(video) for video in videos]
    same[1] = replace(same[1], identity=same[0].identity, object=same[0].object)
    channel = await steps.channel(owner)
    (job,) = (await steps.claims.commit_intents(owner, backfill, channel, same, price(2.0))).jobs
    assert await steps.money(backfill) == (0, 2)
    await steps.start([job])
    await steps.finish(owner, [job])
    await steps.pages.write([page(job.id, detections=seen(4))])
    assert await steps.states(backfill) == ["done", "done"]
    assert await steps.money(backfill) == (Decimal("0.1"), 0)
    assert await steps.value("select labels from tally") == 8
    assert await steps.rows("select cost_usd from video_status order by key") == [(Decimal("0.1"),), (0,)]


async def test_other_backfill_attaches_to_a_running_job_for_nothing(steps: Steps):
    """A second backfill of the same object waits for the first one's job and pays nothing."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job,) = await steps.running(owner, first, ["a.mp4"])
    assert await steps.intents(owner, second, ["a.mp4"]) == []
    assert await steps.states(second) == ["active"]
    assert await steps.money(second) == (0, 0)
    await steps.finish(owner, [job])
    await steps.pages.write([page(job.id, detections=seen(4))])
    assert await steps.states(second) == ["done"]
    assert await steps.money(second) == (0, 0)


async def test_object_that_was_moderated_already_is_done_at_once(steps: Steps):
    """A video whose job has settled is done with its labels counted, without a call."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await steps.done(owner, first, ["a.mp4"], labels=5)
    assert await steps.intents(owner, second, ["a.mp4"]) == []
    assert await steps.states(second) == ["done"]
    progress = await steps.registry.progress("second")
    assert (progress.done, progress.active, progress.labels, progress.spent_usd) == (1, 0, 5, 0.0)
    assert await steps.value("select count(*) from moderation_labels where backfill = 'second'") == 5


async def test_object_that_failed_once_and_was_bought_again_attaches_to_the_latest_job(steps: Steps):
    """A video finds the labels of a later generation, instead of failing with, or buying, an earlier one."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job,) = await steps.running(owner, first, ["a.mp4"])
    await steps.jobs.fail(Failure(job.id, "failed", "internal error", "failed", worth_another=True))
    (again,) = (await steps.intend(owner, first, (await steps.claim(owner, first)).videos)).jobs
    await steps.start([again])
    await steps.finish(owner, [again])
    await steps.pages.write([page(again.id, detections=seen(2))])
    assert await steps.intents(owner, second, ["a.mp4"]) == []
    assert await steps.states(second) == ["done"]
    assert await steps.value("select generations from video_status where backfill = 'second'") == 2


@pytest.mark.parametrize("state", ["failed", "expired", "uncertain"])
async def test_object_whose_job_ended_without_labels_ends_alike(steps: Steps, state: str):
    """A video that attaches to such a job ends as it did, and for its reason."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job,) = await steps.running(owner, first, ["a.mp4"])
    await steps.jobs.fail(Failure(job.id, state, "some reason", state))
    assert await steps.intents(owner, second, ["a.mp4"]) == []
    assert await steps.rows("select state, reason from video_status where backfill = 'second'") == [
        (state, "some reason")
    ]


async def test_video_that_attaches_while_its_job_ends_ends_with_it(steps: Steps):
    """Attaching waits for an end that is being committed, and takes it over."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job,) = await steps.running(owner, first, ["a.mp4"])
    await steps.register(second, owner, ["a.mp4"])
    videos = (await steps.claim(owner, second)).videos
    async with steps.database.transaction("another") as ending:
        await ending.execute(SQL["settle_without_labels"], job.id, "failed", "no", "failed", False, False)
        attaching = asyncio.create_task(steps.intend(owner, second, videos))
        await steps.until_somebody_waits()
    assert (await attaching).jobs == []
    assert await steps.states(second) == ["failed"]


@pytest.mark.parametrize("end", ["done", "failed"])
async def test_job_that_ends_while_a_video_attaches_takes_it_along(steps: Steps, end: str):
    """The end of a job waits for a video that is being attached, and settles it as well."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    (job_id,) = await steps.ready(owner, first, ["a.mp4"])
    await steps.register(second, owner, ["a.mp4"])
    (video,) = (await steps.claim(owner, second)).videos
    identity = intent_for(video).identity
    async with steps.database.transaction("another") as attaching:
        await attaching.execute(SQL["lock_jobs_of_identities"], [identity])
        await attaching.execute(SQL["attach_videos"], [video.id], [identity])
        ending = asyncio.create_task(
            steps.pages.write([page(job_id)])
            if end == "done"
            else steps.jobs.fail(Failure(job_id, "failed", "no", "failed"))
        )
        await steps.until_somebody_waits()
    await ending
    assert await steps.states(second) == [end]


async def test_commit_whose_answer_was_lost_tells_its_jobs_again(steps: Steps):
    """Repeating a committed batch of intents buys nothing twice, and still tells which jobs are to be started."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=10.0)
    await steps.register(backfill, owner, keys(3))
    videos = (await steps.claim(owner, backfill)).videos
    first = await steps.intend(owner, backfill, videos)
    again = await steps.intend(owner, backfill, videos)
    assert [job.token for job in again.jobs] == [job.token for job in first.jobs]
    assert len(first.jobs) == 3
    await steps.start(first.jobs)
    assert (await steps.intend(owner, backfill, videos)).jobs == []


async def test_video_that_was_returned_meanwhile_is_left_alone(steps: Steps):
    """No intent is committed for a video that is not claimed any more."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(2))
    videos = (await steps.claim(owner, backfill)).videos
    await steps.claims.give_back(owner, [videos[0].id])
    committed = await steps.intend(owner, backfill, videos)
    assert [job.key for job in committed.jobs] == [videos[1].object.key]
    assert await steps.states(backfill) == ["pending", "active"]


async def test_verdicts_settle_claimed_videos(steps: Steps):
    """Videos that need no job end with a storable reason; their reservations are free again; twice is once."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(3))
    videos = (await steps.claim(owner, backfill)).videos
    verdicts = [
        Verdicted(videos[0].id, "skipped", "gone"),
        Verdicted(videos[1].id, "failed", "odd \x00 \ud800 text"),
    ]
    await steps.claims.settle(verdicts)
    await steps.claims.settle(verdicts)
    rows = await steps.rows("select state, reason from video where backfill_id = $1 order by id", backfill.id)
    assert rows == [("skipped", "gone"), ("failed", "odd \N{REPLACEMENT CHARACTER} ? text"), ("active", None)]
    assert await steps.money(backfill) == (0, 1)


async def test_process_that_lost_the_lane_returns_nothing(steps: Steps):
    """What the new owner has in hand is neither returned nor counted by the earlier one."""
    earlier, backfill = await steps.own(lease_seconds=0.01), await steps.backfill()
    await steps.register(backfill, earlier, keys(2))
    await asyncio.sleep(0.02)
    owner = await steps.own()
    videos = (await steps.claim(owner, backfill)).videos
    assert await steps.claims.recover(earlier, []) == 0
    await steps.claims.give_back(earlier, [video.id for video in videos])
    assert await steps.rows("select state, claims from video") == [("active", 1)] * 2


async def test_claims_that_nobody_has_in_hand_are_recovered(steps: Steps):
    """Claimed videos without a job return, but for those in hand, and the claim counts against them."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(4))
    videos = (await steps.claim(owner, backfill)).videos
    await steps.intend(owner, backfill, videos[:1])
    assert await steps.claims.recover(owner, [videos[1].id]) == 2
    assert await steps.states(backfill) == ["active", "active", "pending", "pending"]
    assert await steps.money(backfill) == (0, 2)


async def test_video_that_was_taken_up_in_vain_is_taken_up_alone(steps: Steps):
    """Whatever kills the process is found without suspecting the others that were claimed with it."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(3))
    await steps.claim(owner, backfill, limit=2)
    await steps.claims.recover(owner, [])
    alone = [await steps.claim(owner, backfill) for _ in range(3)]
    claimed = [[(video.object.key, video.claims) for video in claim.videos] for claim in alone]
    assert claimed == [[(keys(3)[0], 2)], [(keys(3)[1], 2)], [(keys(3)[2], 1)]]


async def test_rival_claims_of_one_lane_share_no_video(steps: Steps):
    """Claims at the same time never bring the same video, and together all of them."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, keys(200), size_bytes=SIZE_BYTES)
    claims = await asyncio.gather(*(steps.claim(owner, backfill, limit=20) for _ in range(10)))
    found = [video.id for claimed in claims for video in claimed.videos]
    assert len(found) == len(set(found)) == 200

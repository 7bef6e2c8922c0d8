"""Backfills and their videos: registered once, steered, and counted."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from tests.store.steps import BUCKET, Steps
from worker.errors import UsageError
from worker.model import Failure, Object


async def test_chunks_that_name_the_same_objects_are_added_side_by_side(steps: Steps):
    """In whatever order each of them names them: every object is added by one of them."""
    owner, backfill = await steps.own(), await steps.backfill()
    keys = [f"{n}.mp4" for n in range(2000)]
    added: list[int] = []

    async def add(chunk: list[str]) -> None:
        added.append(await steps.register(backfill, owner, chunk))

    async with anyio.create_task_group() as adding:
        for chunk in (keys, keys[::-1], keys[500:1500], keys[::-1]):
            adding.start_soon(add, chunk)
    assert sum(added) == len(keys)
    assert await steps.value("select count(*) from video") == await steps.value("select pending from tally") == 2000


async def test_registering_again_adds_only_what_is_new(steps: Steps):
    """The same source again adds nothing; a grown one adds the rest; one that names an object twice adds it once."""
    owner, backfill = await steps.own(), await steps.backfill()
    assert await steps.register(backfill, owner, ["a.mp4", "b.mp4"]) == 2
    assert await steps.register(backfill, owner, ["a.mp4", "b.mp4"]) == 0
    assert await steps.register(backfill, owner, ["b.mp4", "c.mp4", "c.mp4"]) == 1
    assert (await steps.registry.progress(backfill.name)).pending == 3


async def test_versions_of_an_object_are_videos_of_their_own(steps: Steps):
    """Two versions, and the object without a version, are three videos, each registered once."""
    owner, backfill = await steps.own(), await steps.backfill()
    objects = [(Object(BUCKET, "a.mp4", version_id=version), owner.lane_id) for version in ("1", "2", None)]
    assert [await steps.registry.add(backfill, objects) for _ in range(2)] == [3, 0]


async def test_what_the_source_knows_is_kept(steps: Steps):
    """Size, duration and ETag of a manifest come back with the claim."""
    owner, backfill = await steps.own(), await steps.backfill()
    named = Object(BUCKET, "a.mp4", "v1", "etag", 123, 456)
    await steps.registry.add(backfill, [(named, owner.lane_id)])
    (video,) = (await steps.claim(owner, backfill)).videos
    assert video.object == named


async def test_rival_registrations_add_each_video_once(steps: Steps):
    """Two operators who register the same archive at once, one of them backwards, add each video once."""
    owner, backfill = await steps.own(), await steps.backfill()
    names = [f"{i:03}.mp4" for i in range(300)]

    async def register(names: list[str]) -> int:
        return sum([await steps.register(backfill, owner, names[i : i + 50]) for i in range(0, 300, 50)])

    assert sum(await asyncio.gather(register(names), register(names[::-1]), register(names))) == 300
    assert (await steps.registry.progress(backfill.name)).pending == 300


async def test_backfill_is_registered_once_and_uses_up_one_number(steps: Steps):
    """Opening a backfill many times, also at once, makes one; the next one has the next numbers."""
    opened = await asyncio.gather(*(steps.backfill("archive") for _ in range(5)))
    for _ in range(20):
        await steps.backfill("archive")
    assert len({backfill.id for backfill in opened}) == 1
    assert (await steps.backfill("other")).id <= opened[0].id + 5


@pytest.mark.parametrize(
    "other",
    [{"min_confidence": 70.0}, {"edition": "2"}, {"aggregate_by": "SEGMENTS"}],
    ids=lambda other: next(iter(other)),
)
async def test_settings_that_give_other_results_are_refused(steps: Steps, other: dict[str, Any]):
    """A backfill keeps the settings that it was registered with, and the refusal names the one that differs."""
    await steps.backfill("archive")
    with pytest.raises(UsageError, match=f"was registered with {next(iter(other))}"):
        await steps.backfill("archive", budget_usd=5.0, **other)
    assert await steps.rows("select action from audit") == [("register",)]


async def test_priority_and_budget_are_set_when_given(steps: Steps):
    """What is given is changed, what is not given stays; a changed budget is written down with who changed it."""
    await steps.backfill(priority=3, budget_usd=10.0)
    kept = await steps.backfill()
    assert (kept.priority, kept.budget_usd) == (3, 10.0)
    changed = await steps.backfill(priority=0, budget_usd=0.1)
    assert (changed.priority, changed.budget_usd) == (0, 0.1)
    await steps.backfill(budget_usd=0.1)
    assert await steps.rows("select who, action, backfill, detail from audit where action <> 'register'") == [
        ("an operator", "budget", "archive", '{"before_usd": 10.0, "budget_usd": 0.1}')
    ]


async def test_pausing_twice_keeps_the_first_reason(steps: Steps):
    """A paused backfill is not claimed from, and goes on when it is resumed; both are harmless to repeat."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.register(backfill, owner, ["a.mp4"])
    assert await steps.registry.pause(backfill.name, "first")
    assert await steps.registry.pause(backfill.name, "second")
    assert (await steps.registry.progress(backfill.name)).pause_reason == "first"
    assert await steps.claims.claimable(owner.lane_id) == []
    assert await steps.registry.resume(backfill.name)
    assert await steps.registry.resume(backfill.name)
    assert await steps.claims.claimable(owner.lane_id) == [backfill]
    assert [await steps.registry.pause("no such", "why"), await steps.registry.resume("no such")] == [False, None]
    assert await steps.registry.find("no such") is None


async def test_progress_is_summed_over_lanes(steps: Steps):
    """Progress tells the videos by state, the labels and the money of all lanes, and which lanes have what left."""
    one, other, backfill = await steps.own("one"), await steps.own("other"), await steps.backfill(budget_usd=50.0)
    await steps.done(one, backfill, ["a.mp4", "b.mp4"], labels=3)
    (job,) = await steps.running(other, backfill, ["c.mp4"])
    await steps.jobs.fail(Failure(job.id, "failed", "no", "skipped"))
    await steps.running(one, backfill, ["d.mp4"])
    await steps.register(backfill, other, ["e.mp4", "f.mp4"])
    progress = await steps.registry.progress(backfill.name)
    assert (progress.pending, progress.active, progress.done, progress.skipped) == (2, 1, 2, 1)
    assert (progress.final, progress.total, progress.left) == (3, 6, 3)
    assert (progress.labels, progress.spent_usd, progress.reserved_usd, progress.budget_usd) == (6, 0.2, 1.0, 50.0)
    assert (progress.lanes_pending, progress.lanes_active) == (["other"], ["one"])


async def test_work_left_is_that_of_the_lanes(steps: Steps):
    """What runs is always left to do; what is pending only while its backfill is neither paused nor cancelled."""
    one, other = await steps.own("one"), await steps.own("other")
    for name in ("going", "paused"):
        backfill = await steps.backfill(name)
        await steps.running(one, backfill, [f"{name}/running.mp4"])
        await steps.register(backfill, one, [f"{name}/a.mp4", f"{name}/b.mp4"])
        await steps.register(backfill, other, [f"{name}/c.mp4"])
    await steps.registry.pause("paused", "by hand")
    left = [await steps.registry.work_left(lanes) for lanes in (["one"], ["other"], ["one", "other"], [])]
    assert left == [4, 1, 5, 0]


async def test_commits_reach_the_disk_whatever_the_server_is_set_to(steps: Steps):
    """Intents must survive a crash of the server, so the pool does not leave that to the server's settings."""
    assert await steps.value("show synchronous_commit") == "on"

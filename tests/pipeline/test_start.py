"""Starts wait for their slots, and JobIds are recorded, whatever AWS answers."""

from __future__ import annotations

import anyio

from tests.store.steps import Steps, aws_job_id
from worker.flow.clock import now_seconds
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Job
from worker.pipeline.start import Starter, confirm
from worker.store.database import Database
from worker.store.jobs import Started


async def test_jobid_of_another_job_leaves_its_job_uncertain_and_the_others_running(database: Database):
    """A JobId that is given twice can only be one job's: the other one's start is unclear, its neighbours go on."""
    steps = Steps(database)
    owner, backfill = await steps.own(), await steps.backfill()
    first, second, third = await steps.intents(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"])
    started_in, started_out = anyio.create_memory_object_stream[Started](3)
    async with started_in:
        for job, name in ((first, aws_job_id(first.id)), (second, aws_job_id(first.id)), (third, aws_job_id(third.id))):
            await started_in.send(Started(job, name, 60.0))
    await confirm(steps.jobs, started_out)
    assert await steps.states(backfill) == ["active", "uncertain", "active"]
    assert await steps.rows("select state from job order by id") == [("running",), ("uncertain",), ("running",)]


async def test_inherited_intents_wait_for_slots(steps: Steps, lane: Lane):
    """After a takeover nothing is asked of AWS that it must refuse, as long as what runs takes all slots."""
    backfill = await steps.backfill()
    [first, _] = await steps.running(lane.owner, backfill, ["running.mp4", "too.mp4"])
    await steps.intents(lane.owner, backfill, ["a.mp4", "b.mp4"])
    lane.slots.set_ceiling(2)
    lane.slots.adopt(await steps.jobs.running(lane.owner.lane_id))
    lane.lease_renewed(now_seconds())
    inherited = await steps.jobs.intents(lane.owner.lane_id)
    started_in, started_out = anyio.create_memory_object_stream[Started](2)
    intents_in, intents_out = anyio.create_memory_object_stream[Job](2)
    stop = Stop()
    async with intents_in, started_out, anyio.create_task_group() as group:
        group.start_soon(Starter(lane, steps.jobs, started_in, stop).run, inherited, intents_out)
        await anyio.wait_all_tasks_blocked()
        assert lane.metrics.calls() == {}
        lane.slots.give_back(first.id)
        while not lane.metrics.calls():
            await anyio.sleep(0.01)
        assert lane.slots.used == 2
        stop.request()

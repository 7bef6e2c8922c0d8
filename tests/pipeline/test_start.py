"""JobIds are recorded, whatever AWS answers."""

from __future__ import annotations

import anyio

from tests.store.steps import Steps, aws_job_id
from worker.pipeline.start import confirm
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

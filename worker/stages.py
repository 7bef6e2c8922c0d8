"""Joins the stages of a lane by streams, and runs them for as long as it is owned."""

from __future__ import annotations

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from worker.flow.every import every
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.model import Job, Notice, Page
from worker.pipeline.arrivals import Arrivals
from worker.pipeline.claim import Claimer, claim_ahead
from worker.pipeline.complete import Overdue, mark, poll
from worker.pipeline.fetch import Fetcher
from worker.pipeline.start import Starter, confirm
from worker.store.claims import Claims
from worker.store.database import Database
from worker.store.guards import Guards
from worker.store.jobs import Jobs, Started
from worker.store.registry import Registry

STARTED_IN_FLIGHT = 100
NOTICES_IN_FLIGHT = 100
SLOTS_PER_POLLER = 200  # concurrent jobs that one more long poll of the queue is worth
MOST_POLLERS = 8
OVERDUE_SECONDS = 1.0
LEARN_SECONDS = 15.0


async def run_stages(lane: Lane, database: Database, pages: MemoryObjectSendStream[Page], stop: Stop) -> None:
    """Join the lane's stages by streams; ends after the stop, when they have run dry."""
    jobs, guards = Jobs(database), Guards(database)
    intents_in, intents_out = anyio.create_memory_object_stream[Job](claim_ahead(lane))
    started_in, started_out = anyio.create_memory_object_stream[Started](STARTED_IN_FLIGHT)
    notices_in, notices_out = anyio.create_memory_object_stream[Notice](NOTICES_IN_FLIGHT)
    claimer = Claimer(lane, Claims(database), intents_in, stop)
    starter = Starter(lane, jobs, started_in, stop)
    inherited = await jobs.intents(lane.id)  # before the first claim: none of this owner's own is among them
    fetcher = Fetcher(lane, jobs, pages, stop)
    async with anyio.create_task_group() as duties:
        async with anyio.create_task_group() as stages:
            stages.start_soon(claimer.run)
            stages.start_soon(starter.run, inherited, intents_out)
            stages.start_soon(confirm, jobs, started_out)
            async with notices_in:
                pollers = min(MOST_POLLERS, 1 + lane.slots.ceiling // SLOTS_PER_POLLER)
                for _ in range(pollers):
                    stages.start_soon(poll, lane, jobs, notices_in.clone(), stop, pollers)
            if lane.config.arrivals.queue_url:
                stages.start_soon(Arrivals(lane, Registry(database), jobs, stop).run)
            stages.start_soon(mark, lane, jobs, notices_out)
            stages.start_soon(fetcher.run)
            duties.start_soon(every, OVERDUE_SECONDS, Overdue(lane, jobs).look)
            duties.start_soon(every, LEARN_SECONDS, lambda: look_after(lane, claimer, jobs, guards))
        duties.cancel_scope.cancel()


async def look_after(lane: Lane, claimer: Claimer, jobs: Jobs, guards: Guards) -> None:
    """Learn what jobs take here; return claims that nobody has in hand; see how old the results grow."""
    lane.usual_times = await jobs.usual_times(lane.id)
    await claimer.recover()
    lane.unread(await jobs.unread(lane.id))
    lane.oldest_result(await guards.oldest_result_seconds(lane.id))

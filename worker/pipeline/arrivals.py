"""Registers new videos as they arrive: S3's event notifications, from a queue of the operator's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import anyio
import structlog

from worker.aws.arrivals import Told, read_arrivals
from worker.aws.notices import text_of
from worker.errors import AwsError, UsageError
from worker.flow.stop import Stop
from worker.lane import Lane
from worker.log import redacted
from worker.metrics import ArrivalOutcome
from worker.model import Backfill, Object
from worker.pipeline.filters import Choice, Filters
from worker.pipeline.polling import delete, put_aside, received
from worker.store.audit import THE_WORKER
from worker.store.jobs import Jobs
from worker.store.registry import Registry

LIST = "ListObjectsV2"
REFUSED_SECONDS = 30.0  # between tries to register into a backfill that takes nothing

log = structlog.get_logger()


class Arrivals:
    """Takes what a lane's queue of arrivals holds; a message goes once its objects are registered."""

    def __init__(self, lane: Lane, registry: Registry, jobs: Jobs, stop: Stop) -> None:
        self._lane = lane
        self._arrivals = lane.config.arrivals
        self._registry = registry
        self._jobs = jobs
        self._stop = stop
        self._choice = Choice(Filters(match=self._arrivals.match, exclude=self._arrivals.exclude))
        self._backfill: Backfill | None = None
        self._listed: set[str] = set()  # buckets

    async def run(self) -> None:
        """Take until the stop."""
        with self._stop.taking():
            await self._register([])
            lane = self._lane
            async with aclosing(received(lane, lane.arrivals_queue, lane.arrivals_denial)) as batches_of_messages:
                async for messages in batches_of_messages:
                    lane.may_have_arrivals = await self._take(messages)

    async def _take(self, messages: Sequence[dict[str, Any]]) -> bool:
        """Take what is to be taken; true if there was anything."""
        told = [(message, read_arrivals(text_of(message, "Body"))) for message in messages]
        taken = [(message, each) for message, each in told if await self._is_to_be_taken(message, each)]
        arrived = [named for _, each in taken for named in each.objects]
        if objects := [named for named in arrived if self._choice.takes(named)]:
            await self._register(objects)
        self._count("left_out", len(arrived) - len(objects))
        for message, each in taken:
            if each.fault is not None:
                await self._put_aside(message, each.fault)
        handles = [text_of(message, "ReceiptHandle") for message, _ in taken]
        await delete(self._lane, self._lane.arrivals_queue, handles)
        return bool(taken)

    async def _is_to_be_taken(self, message: dict[str, Any], told: Told) -> bool:
        """Not if it is somebody else's, or the lane could not tell an object that is gone from one that is refused."""
        if told.is_foreign:
            self._count("foreign")
            log.info("foreign message left", lane=self._lane.name, message=text_of(message, "MessageId"))
            return False
        buckets = sorted({named.bucket for named in told.objects} - self._listed)
        return all([await self._is_listable(bucket) for bucket in buckets])

    async def _is_listable(self, bucket: str) -> bool:
        """Whether the lane may list a bucket: to whoever may not, S3 says 403 of an object that is gone.

        Who names a bucket of his choice in a message does not stop the lane with it.
        """
        try:
            async with self._lane.unpaced_call(LIST):
                await self._lane.objects.page(bucket, "", None)
        except AwsError as error:
            self._tell_that_they_wait(f"bucket {bucket} cannot be listed: {error}")
            return False
        self._listed.add(bucket)
        return True

    async def _register(self, objects: Sequence[Object]) -> None:
        """Add what is new to the backfill, as soon as it can be added."""
        added: int | None = None
        while added is None:
            added = await self._added(objects)
        self._count("registered", added)
        self._count("known", len(objects) - added)
        if added:
            self._lane.work_registered.set()

    async def _added(self, objects: Sequence[Object]) -> int | None:
        """How many were new; None after a while if the backfill takes nothing."""
        try:
            self._backfill = self._backfill or await self._open()
            return await self._registry.add(self._backfill, [(named, self._lane.id) for named in objects])
        except UsageError as error:
            self._backfill = None
            self._lane.may_have_arrivals = False
            self._tell_that_they_wait(str(error))
            await anyio.sleep(REFUSED_SECONDS)
            return None

    def _tell_that_they_wait(self, reason: str) -> None:
        """Messages that are left come back."""
        log.error("arrivals wait", lane=self._lane.name, backfill=self._arrivals.backfill, reason=reason)

    async def _open(self) -> Backfill:
        """The backfill of the arrivals: a new one has the config file's priority and budget, others the operators'."""
        is_new = await self._registry.find(self._arrivals.backfill) is None
        return await self._registry.open_backfill(
            self._arrivals.backfill,
            self._lane.settings.moderation,
            priority=self._arrivals.priority if is_new else None,
            budget_usd=self._arrivals.budget_usd if is_new else None,
            who=THE_WORKER,
        )

    async def _put_aside(self, message: dict[str, Any], fault: str) -> None:
        """Keep what cannot be read."""
        self._count("unreadable")
        body = redacted(text_of(message, "Body"))
        await put_aside(self._lane, self._jobs, text_of(message, "MessageId"), body, fault)

    def _count(self, outcome: ArrivalOutcome, count: int = 1) -> None:
        self._lane.metrics.arrived(self._lane.name, outcome, count)

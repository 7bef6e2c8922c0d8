"""Registers what the operator's sources name. On a mistake nothing is registered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial

from worker.admission import Buckets, Request, admitted, objects_meant
from worker.app import Application
from worker.pipeline.discover import Discovered, discover
from worker.pipeline.filters import Choice, chosen
from worker.pipeline.sources import Source, objects_of


async def enqueue(application: Application, request: Request, found: Discovered) -> None:
    """Register the videos of every source; `found` is counted up as it goes.

    Raises:
        UsageError: for a source that cannot be read or names no video, or a bucket that no lane can take.

    """
    async with AsyncExitStack() as stack:
        choice = Choice(request.filters)
        sources, buckets = await _admitted(application, request.sources, choice, stack)
        backfill = await application.registry.open_backfill(
            request.name,
            application.settings.moderation,
            priority=request.priority,
            budget_usd=request.budget_usd,
            who=application.operator,
        )
        register = partial(application.registry.add, backfill)
        for source in sources:
            async with aclosing(objects_of(source, await buckets.reader_of(source))) as objects:
                await discover(chosen(objects, choice, source.text, found.leave_out), register, buckets.lanes, found)


async def count(application: Application, request: Request, found: Discovered) -> None:
    """Count what `enqueue` would register, as new.

    Raises:
        UsageError: as `enqueue`.

    """
    async with AsyncExitStack() as stack:
        choice = Choice(request.filters)
        sources, buckets = await _admitted(application, request.sources, choice, stack)
        async with aclosing(objects_meant(sources, buckets, choice, found)) as objects:
            async for _ in objects:
                pass


async def _admitted(
    application: Application, texts: Sequence[str], choice: Choice, stack: AsyncExitStack
) -> tuple[list[Source], Buckets]:
    lanes = await application.register_lanes(application.settings)
    return await admitted(application, texts, choice, {name: row.id for name, row in lanes.items()}, stack)

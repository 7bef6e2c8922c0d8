"""Registers what the operator's sources name. On a mistake nothing is registered."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path

import anyio
from msgspec import Struct

from worker.app import Application
from worker.aws.objects import Objects
from worker.aws.session import bucket_requests
from worker.errors import AwsError, UsageError
from worker.flow.descriptors import blocks
from worker.local.child import publish_folder
from worker.model import Object
from worker.pipeline.discover import Discovered, LaneChoice, discover, lanes_in
from worker.pipeline.inventory import Inventory
from worker.pipeline.inventory import manifest_of as inventory_manifest
from worker.pipeline.sources import Manifest, Prefix, Source, manifest_of, objects_of, parse_source, survey
from worker.store.leases import LaneRow

STANDARD_INPUT = "-"


class Request(Struct, frozen=True):
    """What to register: sources as the operator wrote them, the backfill's name, and what to change of it."""

    sources: Sequence[str]
    name: str
    priority: int | None = None
    budget_usd: float | None = None


async def enqueue(application: Application, request: Request, found: Discovered) -> None:
    """Register the videos of every source; `found` is counted up as it goes.

    Raises:
        UsageError: for a source that cannot be read or names no video, or a bucket that no lane can take.

    """
    async with AsyncExitStack() as stack:
        sources, buckets = await _admitted(application, request, stack)
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
                await discover(objects, register, buckets.lanes, found)


async def count(application: Application, request: Request, found: Discovered) -> None:
    """Count what `enqueue` would register, as new.

    Raises:
        UsageError: as `enqueue`.

    """
    async with AsyncExitStack() as stack:
        sources, buckets = await _admitted(application, request, stack)
        for source in sources:
            async with aclosing(objects_of(source, await buckets.reader_of(source))) as objects:
                async for item in objects:
                    found.added += found.meet(item) is not None


async def _admitted(application: Application, request: Request, stack: AsyncExitStack) -> tuple[list[Source], Buckets]:
    """The sources, each looked at before anything is registered: its buckets have lanes, and it names a video."""
    sources = [await _source(application, text, stack) for text in request.sources]
    buckets = Buckets(application, await application.register_lanes(application.settings), stack)
    for source in sources:
        match source:
            case Manifest():
                await _admit_manifest(source, buckets)
            case Inventory():
                await _admit_inventory(source, buckets)
            case _:
                await _admit_prefix(source, buckets)
    return sources, buckets


async def _admit_prefix(source: Prefix, buckets: Buckets) -> None:
    await buckets.admit(source.bucket)
    async with aclosing(objects_of(source, await buckets.reader_of(source))) as objects:
        async for _ in objects:
            return
    raise UsageError(f"{source.text} names no video; check its spelling with `aws s3 ls`")


async def _admit_manifest(source: Manifest, buckets: Buckets) -> None:
    found = await anyio.to_thread.run_sync(survey, source)
    for bucket, example in found.examples.items():
        await buckets.admit(bucket, example)
    if not found.examples:
        row = found.first_bad_row
        reason = f": line {row.line} {row.reason}" if row else "; it is empty"
        raise UsageError(f"{source.text} names no video{reason}")


async def _admit_inventory(source: Inventory, buckets: Buckets) -> None:
    manifest = await inventory_manifest(source, await buckets.reader_of(source))
    if not manifest.files:
        raise UsageError(f"{source.text} names no video; it has no data files")
    await buckets.admit(manifest.bucket)


async def _source(application: Application, text: str, stack: AsyncExitStack) -> Source:
    """The source of a text; standard input is put into a file first, a folder is published by the local service."""
    if text == STANDARD_INPUT:
        return manifest_of("standard input", await _spooled_input(stack))
    source = parse_source(text)
    if not isinstance(source, Path):
        return source
    if application.service_url is None:
        raise UsageError(f"{text}: only the local service can read a folder; upload it and name s3://bucket/prefix")
    return Prefix(f"folder {text}", await publish_folder(application.service_url, source), "")


async def _spooled_input(stack: AsyncExitStack) -> Path:
    """Standard input as a file, since a manifest is read twice."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="modworker-"))
    path = Path(folder) / "standard-input.jsonl"
    with path.open("wb") as file:
        async for block in blocks(sys.stdin.fileno()):
            file.write(block)
    return path


class Buckets:
    """The buckets of a registration: the lanes that can take their videos, and a client that can list them."""

    def __init__(self, application: Application, rows: dict[str, LaneRow], stack: AsyncExitStack) -> None:
        self._application = application
        self._stack = stack
        self._clients: dict[str, Objects] = {}
        lanes = application.settings.lanes
        self._choices = [LaneChoice(rows[n].id, n, lane.region, lane.concurrent_jobs) for n, lane in lanes.items()]
        self.lanes: dict[str, list[LaneChoice]] = {}

    async def admit(self, bucket: str, example: Object | None = None) -> None:
        """Find the lanes that can take a bucket's videos.

        Raises:
            UsageError: if there is no such bucket, or none of the lanes is in its region.

        """
        if bucket not in self.lanes:
            self.lanes[bucket] = lanes_in(await self._region_of(bucket, example), bucket, self._choices)

    async def reader_of(self, source: Source) -> Objects:
        """S3 in the region of what is read: a prefix's bucket, or that of an inventory, which may be anywhere."""
        match source:
            case Manifest():
                lane = self._choices[0]
            case Inventory():
                region = await self._region_of(source.bucket)
                lane = next((lane for lane in self._choices if lane.region == region), self._choices[0])
            case _:
                lane = self.lanes[source.bucket][0]
        return await self._objects(lane.name)

    async def _region_of(self, bucket: str, example: Object | None = None) -> str | None:
        asked = self._choices[0]
        try:
            return await (await self._objects(asked.name)).region_of(bucket, example)
        except AwsError as error:
            if error.code in ("404", "NoSuchBucket"):
                raise UsageError(f"bucket {bucket} does not exist; check its name") from None
            raise UsageError(
                f"bucket {bucket} cannot be looked up over lane {asked.name} ({error}); "
                "check the lane's credentials and endpoint"
            ) from None

    async def _objects(self, lane_name: str) -> Objects:
        if lane_name not in self._clients:
            lane = self._application.settings.lanes[lane_name]
            credentials = self._application.credentials_of(lane_name)
            self._clients[lane_name] = Objects(await bucket_requests(lane, credentials, self._stack))
        return self._clients[lane_name]

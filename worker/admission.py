"""Looks at an operator's sources before anything is done: each can be read, names a video, and has lanes to take it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import anyio
from msgspec import Struct

from worker.app import Access
from worker.aws.objects import Objects
from worker.aws.session import bucket_requests
from worker.errors import AwsError, UsageError
from worker.flow.descriptors import blocks
from worker.local.child import publish_folder
from worker.model import Object
from worker.pipeline.discover import Discovered, LaneChoice, lanes_in
from worker.pipeline.filters import DATE, KEY, SIZE, STORAGE_CLASS, Choice, Filters, chosen
from worker.pipeline.inventory import Inventory
from worker.pipeline.inventory import manifest_of as inventory_manifest
from worker.pipeline.sources import Manifest, Prefix, Source, manifest_of, objects_of, parse_source, survey

STANDARD_INPUT = "-"
TOLD = {"key": KEY, "size": SIZE, "last_modified_date": DATE, "storage_class": STORAGE_CLASS}
"""What an inventory tells, by its columns."""


class Request(Struct, frozen=True):
    """What is meant: what the filters choose of the sources, as the operator wrote them; and of which backfill."""

    sources: Sequence[str]
    name: str
    priority: int | None = None
    budget_usd: float | None = None
    filters: Filters = Filters()


async def admitted(
    access: Access, texts: Sequence[str], choice: Choice, lane_ids: Mapping[str, int], stack: AsyncExitStack
) -> tuple[list[Source], Buckets]:
    """The sources as the operator wrote them, and their buckets with the lanes that can take them.

    Raises:
        UsageError: for a source that cannot be read, names no video or does not tell what is chosen by, or a bucket
            that no lane can take.

    """
    sources = [await _source(access, text, stack) for text in texts]
    buckets = Buckets(access, lane_ids, stack)
    for source in sources:
        match source:
            case Manifest():
                await _admit_manifest(source, buckets, choice)
            case Inventory():
                await _admit_inventory(source, buckets, choice)
            case _:
                await _admit_prefix(source, buckets)
    return sources, buckets


async def objects_meant(
    sources: Sequence[Source], buckets: Buckets, choice: Choice, found: Discovered
) -> AsyncGenerator[Object, None]:
    """The objects that the sources name and the choice takes, counted as new; `found` is counted up as it goes."""
    for source in sources:
        async with aclosing(objects_of(source, await buckets.reader_of(source))) as objects:
            async for item in chosen(objects, choice, source.text, found.leave_out):
                if named := found.meet(item):
                    found.added += 1
                    yield named


async def _admit_prefix(source: Prefix, buckets: Buckets) -> None:
    await buckets.admit(source.bucket)
    async with aclosing(objects_of(source, await buckets.reader_of(source))) as objects:
        async for _ in objects:
            return
    raise UsageError(f"{source.text} names no video; check its spelling with `aws s3 ls`")


async def _admit_manifest(source: Manifest, buckets: Buckets, choice: Choice) -> None:
    choice.refuse_untold({KEY, SIZE}, source.text, "name a prefix (s3://…) or an inventory instead")
    found = await anyio.to_thread.run_sync(survey, source, choice)
    for bucket, example in found.examples.items():
        await buckets.admit(bucket, example)
    if not found.examples and not found.leaves_out:
        row = found.first_bad_row
        reason = f": line {row.line} {row.reason}" if row else "; it is empty"
        raise UsageError(f"{source.text} names no video{reason}")


async def _admit_inventory(source: Inventory, buckets: Buckets, choice: Choice) -> None:
    manifest = await inventory_manifest(source, await buckets.reader_of(source))
    told = {need for column, need in TOLD.items() if column in manifest.columns}
    choice.refuse_untold(told, source.text, "have it written with that field")
    if not manifest.files:
        raise UsageError(f"{source.text} names no video; it has no data files")
    await buckets.admit(manifest.bucket)


async def _source(access: Access, text: str, stack: AsyncExitStack) -> Source:
    """The source of a text; standard input is put into a file first, a folder is published by the local service."""
    if text == STANDARD_INPUT:
        return manifest_of("standard input", await _spooled_input(stack))
    source = parse_source(text)
    if not isinstance(source, Path):
        return source
    if access.service_url is None:
        raise UsageError(f"{text}: only the local service can read a folder; upload it and name s3://bucket/prefix")
    return Prefix(f"folder {text}", await publish_folder(access.service_url, source), "")


async def _spooled_input(stack: AsyncExitStack) -> Path:
    """Standard input as a file, since a manifest is read twice."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="modworker-"))
    path = Path(folder) / "standard-input.jsonl"
    with path.open("wb") as file:
        async for block in blocks(sys.stdin.fileno()):
            file.write(block)
    return path


class Buckets:
    """The buckets of the sources: the lanes that can take their videos, and a client that can list them."""

    def __init__(self, access: Access, lane_ids: Mapping[str, int], stack: AsyncExitStack) -> None:
        self._access = access
        self._stack = stack
        self._clients: dict[str, Objects] = {}
        lanes = access.settings.lanes
        self._choices = [LaneChoice(lane_ids[n], n, lane.region, lane.concurrent_jobs) for n, lane in lanes.items()]
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
            lane = self._access.settings.lanes[lane_name]
            credentials = self._access.credentials_of(lane_name)
            self._clients[lane_name] = Objects(await bucket_requests(lane, credentials, self._stack))
        return self._clients[lane_name]

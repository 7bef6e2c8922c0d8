"""From any source to registered videos, in bounded memory. It judges nothing that HEAD will know better."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct

from worker.aws.manifests import BadRow
from worker.errors import UsageError
from worker.model import Object

CHUNK = 40_000  # of fewer, too much of the time is that of a transaction, whatever it brings
CHUNKS_AT_ONCE = 2  # one is sent to the database while that inserts the one before

Chunk = Sequence[tuple[Object, int]]
Register = Callable[[Chunk], Awaitable[int]]
"""Adds (object, lane id) pairs to a backfill and tells how many were new."""
BAD_ROWS_TOLD = 20  # in full; the others are counted

log = structlog.get_logger()


class LaneChoice(Struct, frozen=True):
    """A lane that a video may be given to; more slots, more videos."""

    id: int
    name: str
    region: str
    concurrent_jobs: int


class Discovered(Struct):
    """What a source held: videos that were new, those that were there already, rows that name no object, and objects
    that the filters left out.

    `example` is the BUCKET/KEY of the first video.
    """

    added: int = 0
    known: int = 0
    bad_rows: int = 0
    left_out: int = 0
    example: str | None = None

    @property
    def named(self) -> int:
        """Videos that the source named."""
        return self.added + self.known

    def leave_out(self) -> None:
        """Count an object that is not meant."""
        self.left_out += 1

    def meet(self, item: Object | BadRow) -> Object | None:
        """Take note of what a source gives next: tells the first bad rows and counts all; gives the object, if any."""
        if isinstance(item, BadRow):
            self.bad_rows += 1
            if self.bad_rows <= BAD_ROWS_TOLD:
                log.warning("bad row skipped", source=item.source, line=item.line, reason=item.reason)
            return None
        if self.example is None:
            self.example = f"{item.bucket}/{item.key}"
        return item


def choose_lane(named: Object, lanes: Sequence[LaneChoice]) -> LaneChoice:
    """Weighted rendezvous hashing: each lane draws by bucket and key, so that one more lane moves few videos."""
    if len(lanes) == 1:
        return lanes[0]

    def draw(lane: LaneChoice) -> float:
        text = f"{lane.name}\n{named.bucket}\n{named.key}".encode("utf-8", "surrogateescape")
        number = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
        return -lane.concurrent_jobs / math.log((number + 1) / (2**56 + 1))

    return max(lanes, key=draw)


async def discover(
    objects: AsyncIterable[Object | BadRow],
    register: Register,
    lanes_of: Mapping[str, Sequence[LaneChoice]],
    found: Discovered,
) -> None:
    """Register what a source names; `lanes_of` gives the lanes of each bucket's region, `found` is counted up.

    A chunk is gathered while the database takes those before.

    Raises:
        UsageError: if it names a bucket that nobody has looked at, which can only be new; in a group.

    """
    chunks_in, chunks_out = anyio.create_memory_object_stream[Chunk](0)
    async with anyio.create_task_group() as registration:
        for _ in range(CHUNKS_AT_ONCE):
            registration.start_soon(_register, chunks_out.clone(), register, found)
        async with chunks_in, chunks_out:
            async for chunk in _chunks(objects, lanes_of, found):
                await chunks_in.send(chunk)


async def _chunks(
    objects: AsyncIterable[Object | BadRow], lanes_of: Mapping[str, Sequence[LaneChoice]], found: Discovered
) -> AsyncGenerator[Chunk, None]:
    chunk: list[tuple[Object, int]] = []
    async for item in objects:
        if named := found.meet(item):
            if named.bucket not in lanes_of:
                raise UsageError(
                    f"bucket {named.bucket} was added to the source while it was read; give the command again"
                )
            chunk.append((named, choose_lane(named, lanes_of[named.bucket]).id))
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _register(chunks: MemoryObjectReceiveStream[Chunk], register: Register, found: Discovered) -> None:
    async with chunks:
        async for chunk in chunks:
            added = await register(chunk)
            found.added += added
            found.known += len(chunk) - added


def lanes_in(region: str | None, bucket: str, lanes: Sequence[LaneChoice]) -> list[LaneChoice]:
    """The lanes that can take a bucket's videos; all of them where S3 does not tell the region.

    Raises:
        UsageError: if there is none.

    """
    fitting = [lane for lane in lanes if region in (None, lane.region)]
    if not fitting:
        raise UsageError(
            f"bucket {bucket} is in {region}, where no lane is configured; add a lane for {region} to the config file"
        )
    return fitting

"""Groups pages of many jobs into one transaction each; a page that cannot be stored does not hold up its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import anyio
import asyncpg
import structlog
from anyio.abc import ObjectSendStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import json

from worker.flow.batch import batches
from worker.flow.stream import items_of
from worker.metrics import Metrics
from worker.model import Failure, Page
from worker.store.jobs import Aside, Jobs
from worker.store.pages import Pages, in_turns
from worker.traces import UNTRACED, Traces

WRITERS = 2  # one encodes its rows while the server works for the other
PAGES_AHEAD = 12  # of each writer, beside the group that it holds until that is committed
ROWS_AT_ONCE = 12_000  # of a group, or a few more; a page counts as a hundred besides, for what settling a job costs
PAGE_ROWS = 100
GROUPS_APART_SECONDS = 0.25  # a commit of few pages costs the server several times as much for each

UNSTORABLE = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, ValueError, OverflowError)

log = structlog.get_logger()


class Writer:
    """Writes what the fetchers of all lanes read; `on_written` hears which jobs are out of hand."""

    def __init__(
        self,
        pages: Pages,
        jobs: Jobs,
        metrics: Metrics,
        on_written: Callable[[int], None],
        traces: Traces = UNTRACED,
    ) -> None:
        self._pages = pages
        self._jobs = jobs
        self._metrics = metrics
        self._on_written = on_written
        self._traces = traces

    async def run(self, pages: MemoryObjectReceiveStream[Page]) -> None:
        """Write until the stream ends. A job's pages stay with one of the writers, lest they overtake each other."""
        async with pages, anyio.create_task_group() as writers, AsyncExitStack() as shares:
            senders = [await shares.enter_async_context(self._open_share(writers)) for _ in range(WRITERS)]
            async for page in items_of(pages):
                await senders[page.job_id % WRITERS].send(page)

    def _open_share(self, writers: TaskGroup) -> ObjectSendStream[Page]:
        sender, share = anyio.create_memory_object_stream[Page](PAGES_AHEAD)
        writers.start_soon(self._write_share, share)
        return sender

    async def _write_share(self, share: MemoryObjectReceiveStream[Page]) -> None:
        """Write what one writer is given; a group is held until it is committed."""
        async with share:
            groups = batches(share, size=ROWS_AT_ONCE, apart_seconds=GROUPS_APART_SECONDS, weigh=_rows)
            async for group in groups:
                await self._write(group)
                await _let_go(group)

    async def _write(self, group: Sequence[Page]) -> None:
        begun_at = anyio.current_time()
        try:
            with self._traces.span("write_pages", pages=len(group)):
                written = await self._pages.write(group)
        except UNSTORABLE as error:
            await self._write_apart(group, error)
            return
        self._metrics.wrote(written.rows, anyio.current_time() - begun_at)
        for job_id in [*written.settled, *written.refused]:
            self._on_written(job_id)

    async def _write_apart(self, group: Sequence[Page], error: Exception) -> None:
        """Find the page that cannot be stored, by writing each job's pages on their own, then each page."""
        if len(group) > 1:
            for part in _parts(group):
                await self._write(part)
            return
        (page,) = group
        log.warning("page cannot be stored", job=page.job_id, page=page.number, reason=str(error))
        failure = Failure(page.job_id, "failed", f"unreadable result: {error}"[:500], "failed")
        await self._jobs.fail(failure, Aside(page.number, json.encode(page)))
        self._on_written(page.job_id)


async def _let_go(group: list[Page]) -> None:
    """Free what was held by and by, for thousands of records take long."""
    async for _ in in_turns(group.pop() for _ in range(len(group))):
        pass


def _rows(page: Page) -> int:
    return PAGE_ROWS + len(page.detections)


def _parts(group: Sequence[Page]) -> Iterator[Sequence[Page]]:
    """The pages of each job; of one job alone, each page."""
    job_ids = dict.fromkeys(page.job_id for page in group)
    if len(job_ids) == 1:
        yield from ([page] for page in group)
    else:
        yield from ([page for page in group if page.job_id == job_id] for job_id in job_ids)

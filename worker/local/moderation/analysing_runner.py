"""Jobs of an analyst that really looks: they end when it is done, and what it found is kept in the database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from worker.errors import UsageError
from worker.local.analysts.analysis import Analysis, Analyst, StoredVideo
from worker.local.moderation.endings import Endings, ending_of
from worker.local.moderation.runner import Look
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Job, NewJob
from worker.local.storage.objects import Objects

T = TypeVar("T")

_OBJECT_IS_GONE = "Unable to get object metadata from S3. Check object key, region and/or access permissions."


class AnalysingRunner:
    """Analyses jobs in the order of their start; one that was interrupted is analysed again.

    `analyst` gives the analyst, and is asked for it, in a thread, only when there is something to look at; the
    UsageError that it may raise fails the job; another error ends the service and leaves the job as it is. What was
    found before can be read without an analyst. `at_once` videos are under analysis.
    """

    seed = None

    def __init__(
        self, database: Database, endings: Endings, analyst: Callable[[], Analyst], objects: Objects, at_once: int
    ) -> None:
        self._database = database
        self._endings = endings
        self._analyst = analyst
        self._objects = objects
        self._at_once = at_once
        self._taken = 0
        self._started = anyio.Event()

    async def duration_ms(self, video: StoredVideo) -> int | None:
        """What the file says of itself."""
        return await anyio.to_thread.run_sync(lambda: self._analyst().duration_ms(video))

    def ends_at_ms(self, video_ms: int | None, started_at_ms: int) -> None:
        """Not known before the analysis is done."""

    def announce(self, job: NewJob) -> None:  # noqa: ARG002 (other runners look at the job)
        """The job has been committed."""
        self._started.set()

    def look(self, job: Job) -> Look:
        """Read what the job has seen."""
        [(document,)] = self._database.read("SELECT document FROM analysis WHERE number = ?", job.number)
        return partial(_unpacked, document)

    async def run(self) -> None:
        """Analyse jobs until cancelled."""
        self._taken = 0
        async with anyio.create_task_group() as tasks:
            for _ in range(self._at_once):
                tasks.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            job = await self._next()
            analysis = await self._analyse(job)
            document = await anyio.to_thread.run_sync(_packed, analysis)
            keep = _Keep(self._endings, job, analysis, document, self._database.clock.now_ms())
            self._endings.announce([await self._database.write(keep)])

    async def _next(self) -> Job:
        while True:
            self._started = self._started if not self._started.is_set() else anyio.Event()
            if job := jobs.first_unfinished(self._database.reader, self._taken):
                self._taken = job.number
                return job
            await self._started.wait()

    async def _analyse(self, job: Job) -> Analysis:
        video = await self._objects.find(job.owner, job.bucket, job.key, job.version_id)
        if video is None:
            return Analysis(failure=_OBJECT_IS_GONE, metadata=None, labels=[])
        try:
            return await _in_daemon_thread(lambda: self._analyst().analyse(video, job.min_confidence))
        except UsageError as missing:
            return Analysis(failure=str(missing), metadata=None, labels=[])


class _Keep(msgspec.Struct, frozen=True):
    """The write that ends an analysed job."""

    endings: Endings
    job: Job
    analysis: Analysis
    document: bytes
    ended_at_ms: int

    def __call__(self, connection: sqlite3.Connection) -> str | None:
        connection.execute("INSERT OR REPLACE INTO analysis VALUES (?, ?)", (self.job.number, self.document))
        return self.endings.end(connection, self.job, ending_of(self.analysis, self.ended_at_ms))


def _packed(analysis: Analysis) -> bytes:
    return zlib.compress(msgspec.json.encode(analysis), level=1)


def _unpacked(document: bytes) -> Analysis:
    return msgspec.json.decode(zlib.decompress(document), type=Analysis)


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Run minutes of work in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: Exception | None) -> None:
        if answer.done():  # cancelled meanwhile
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # a result where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 (it is raised again where the work was asked for)
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="local-service-analysis", daemon=True).start()
    return await answer

"""The local moderation service: Rekognition Video, SQS, S3 and STS on one port of this machine.

This module wires the parts; each of the others does one thing.
"""

from __future__ import annotations

import fcntl
import gc
import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec
import structlog
from aiohttp import web

from worker.config import Settings
from worker.errors import UsageError
from worker.local.address import announced, last_port, listening_socket, remember_port, url_of
from worker.local.analysts.analysis import Analyst
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.books.ledger import Ledger
from worker.local.faults.faults import Faults
from worker.local.faults.plan import Plan, plan_of_file
from worker.local.front.calls import Calls
from worker.local.front.operations import rekognition_operations, sqs_operations
from worker.local.front.routes import Front
from worker.local.front.sts import Sts
from worker.local.moderation.analysing_runner import AnalysingRunner
from worker.local.moderation.endings import Endings
from worker.local.moderation.notices import Notices
from worker.local.moderation.page_tokens import PageTokens
from worker.local.moderation.publisher import OtherSns, Outlet, Publisher, SubscribedQueues
from worker.local.moderation.quotas import Quotas
from worker.local.moderation.reads import Reads
from worker.local.moderation.runner import Runners
from worker.local.moderation.starts import Starts
from worker.local.moderation.timed_runner import JobTimes, TimedRunner
from worker.local.protocol.json_protocol import JsonProtocol
from worker.local.s3 import S3
from worker.local.sqs import messages
from worker.local.sqs.channels import Channels
from worker.local.sqs.directory import LANE_RETENTION_SECONDS
from worker.local.sqs.queues import Queues
from worker.local.sqs.service import Sqs
from worker.local.state.database import Database
from worker.local.storage.archive import Archive
from worker.local.storage.buckets import Buckets
from worker.local.storage.folders import Folders
from worker.local.storage.objects import Objects
from worker.local.storage.remote import RemoteClients, RemoteObjects

if TYPE_CHECKING:  # an extra
    from worker.local.analysts.model import Score

log = structlog.get_logger()

Settle = Callable[[dict[str, Any], dict[str, Any]], None]

_ANALYSED_AT_ONCE = 2  # videos
_SHUTDOWN_SECONDS = 1.0
_HOUSEKEEPING_SECONDS = 3600.0
_PREDECESSOR_SECONDS = 5.0  # that a service which is told to stop may still take
_POLL_SECONDS = 0.05
_PAUSE_SECONDS = 1.0  # after a failed write
_TURN_SECONDS = 0.0005  # of a thread that makes labels up, before the one that answers has its own


async def serve(
    settings: Settings, *, announce: Callable[[str], None], settle: Settle, score: Score | None = None
) -> None:
    """Run the service until cancelled.

    `announce` is given its URL once it listens; `settle` what its ledger summed up to at its start and at its end.
    Where `score` is given, it scores the frames of real videos elsewhere, and every core here decodes.

    Raises:
        UsageError: the address is in use, the data folder is served already, or the analyst's packages are missing.

    """
    data_dir = settings.database.data_dir
    data_dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_sole_service(data_dir))
        database = await stack.enter_async_context(_database(data_dir / "local-service.sqlite", settings.local.speed))
        listening = stack.enter_context(listening_socket(settings.local.listen, last_port(database)))
        url = url_of(listening)
        parts = await _build(settings, database, RemoteClients(stack), url, score)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        for run in parts.background:
            tasks.start_soon(_persistently, run)
        await stack.enter_async_context(_served(parts, listening, settle))
        await remember_port(database, listening)
        stack.enter_context(announced(data_dir, url))
        _be_swift()
        announce(url)
        await anyio.sleep_forever()


def _be_swift() -> None:
    """Keep answers from being held up: a client's calls that fall together meanwhile are more than a bucket lets pass.

    A full collection walked all that was imported, for 80 ms.
    """
    gc.freeze()
    sys.setswitchinterval(_TURN_SECONDS)


class _Parts(msgspec.Struct, frozen=True):
    """What runs: the HTTP application, the loops beside it, and what must be told of the end."""

    application: web.Application
    background: list[Callable[[], Coroutine[None, None, None]]]
    queues: Queues
    ledger: Ledger


async def _build(
    settings: Settings, database: Database, clients: RemoteClients, url: str, score: Score | None
) -> _Parts:
    local, endpoints = settings.local, settings.local.endpoints
    synthetic = SyntheticAnalyst(local.seed)
    faults = Faults(database.clock, Plan() if local.faults is None else plan_of_file(local.faults))
    quotas = Quotas(settings.lanes, local, database.clock, faults.share_of_others)
    channels, queues, ledger = Channels(settings.lanes), Queues(database), Ledger(database, quotas)
    folders = Folders(database)
    buckets = Buckets(Archive(synthetic, local.seed, local.videos), folders)
    objects: Objects = buckets if endpoints.s3 is None else RemoteObjects(clients, endpoints.s3)
    outlet: Outlet = SubscribedQueues(database, channels, queues)
    if endpoints.sns is not None:
        outlet = OtherSns(database, clients, endpoints.sns)
    publisher = Publisher(database, outlet)
    endings = Endings(Notices(channels, faults, to_sns=endpoints.sns is not None), queues, publisher, faults)
    analyst, at_once = partial(_onnx_analyst, score), (score and os.cpu_count()) or _ANALYSED_AT_ONCE
    if local.analyst == "onnx":
        await anyio.to_thread.run_sync(analyst)  # now, rather than at the first job, to tell what is missing
    times = JobTimes(local.job_seconds, local.job_seconds_per_video_second)
    runners = Runners(
        synthetic=TimedRunner(database, endings, SyntheticAnalyst, local.seed, times),
        real=AnalysingRunner(database, endings, analyst, objects, at_once),
    )
    starts = Starts(database, runners.real if local.analyst == "onnx" else runners.synthetic, objects, quotas, faults)
    reads = Reads(database, runners, PageTokens(await _page_secret(database)), faults, local.largest_page)
    operations = rekognition_operations(starts, reads, quotas) | sqs_operations(Sqs(database, queues, channels, url))
    calls = Calls(
        JsonProtocol(operations, check_answers=local.check_answers),
        Sts(),
        S3(buckets),
        faults,
        ledger,
        quotas,
    )
    background: list[Callable[[], Coroutine[None, None, None]]] = [
        runners.synthetic.run,
        runners.real.run,
        publisher.run,
        ledger.run,
        partial(_forget_old_messages, database),
    ]
    return _Parts(Front(calls, ledger, faults, folders).application(), background, queues, ledger)


async def _persistently(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a loop until cancelled, again and again while the database cannot be written."""
    while True:
        try:
            await run()
        except* sqlite3.Error as errors:
            log.error("database_unwritable", errors=[str(error) for error in errors.exceptions])  # noqa: TRY400 (the message says it all, every second)
        await anyio.sleep(_PAUSE_SECONDS)


@cache
def _onnx_analyst(score: Score | None) -> Analyst:
    try:
        from worker.local.analysts.onnx import OnnxAnalyst  # noqa: PLC0415 (its packages are an extra)
    except ImportError as error:
        raise UsageError(
            f'local.analyst = "onnx" needs packages that are missing ({error.name}); install modworker[analysis]'
        ) from None
    return OnnxAnalyst(score=score)


@asynccontextmanager
async def _sole_service(data_dir: Path) -> AsyncIterator[None]:
    """Keep a second service away from the data folder; the lock goes with the process, however it ends."""
    with (data_dir / "local-service.lock").open("w") as lock:
        with anyio.move_on_after(_PREDECESSOR_SECONDS):
            while not _is_locked_by_us(lock):  # noqa: ASYNC110 (no event tells that another process lets go)
                await anyio.sleep(_POLL_SECONDS)
        if not _is_locked_by_us(lock):
            raise UsageError(f"a local moderation service runs on {data_dir} already; stop it first")
        yield


def _is_locked_by_us(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def _database(path: Path, speed: float) -> AsyncIterator[Database]:
    database = Database(path, speed)
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.close()


@asynccontextmanager
async def _served(parts: _Parts, listening: socket.socket, settle: Settle) -> AsyncIterator[None]:
    """Answer requests; at the end those under way are answered, long polls with what there is."""
    runner = web.AppRunner(
        parts.application, access_log=None, auto_decompress=False, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    before = await parts.ledger.summary()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        with anyio.CancelScope(shield=True):
            parts.queues.close()
            await runner.cleanup()
            settle(before, await parts.ledger.summary())


async def _page_secret(database: Database) -> bytes:
    """The key that page tokens are signed with, made at the first start."""

    def remembered(connection: sqlite3.Connection) -> str:
        made = secrets.token_hex(32)
        connection.execute("INSERT INTO remembered VALUES ('page_secret', ?) ON CONFLICT DO NOTHING", (made,))
        (value,) = connection.execute("SELECT value FROM remembered WHERE name = 'page_secret'").fetchone()
        return str(value)

    return bytes.fromhex(await database.write(remembered))


async def _forget_old_messages(database: Database) -> None:
    while True:
        sent_before_ms = database.clock.now_ms() - LANE_RETENTION_SECONDS * 1000
        await database.write(partial(messages.forget_older, sent_before_ms=sent_before_ms))
        await anyio.sleep(_HOUSEKEEPING_SECONDS)

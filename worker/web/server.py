"""Health, readiness, metrics and pages over HTTP, in the event loop of the worker itself.

The first three ask for no token: they tell of no video and hold no secret. What the pages ask for is their own matter.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from worker.config import split_address
from worker.errors import UsageError
from worker.log import redacted
from worker.metrics import Metrics

READY_WITHIN_SECONDS = 2.0
_CLOSE_WITHIN_SECONDS = 1.0  # for answers under way at the end

Ready = Callable[[], Awaitable[str | None]]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


@asynccontextmanager
async def serve(
    listen: str, *, metrics: Metrics, ready: Ready, pages: Iterable[web.RouteDef] = ()
) -> AsyncIterator[str]:
    """Serve on `listen` (host:port) while the context lasts; yields the URL.

    `ready` returns None, or one sentence that says why the process is not ready. Where it raises, or takes longer than
    READY_WITHIN_SECONDS, the process counts as not ready. Where the port is in use any free one is taken, with a
    warning: a worker does not stay away from its work for want of a port.

    Raises:
        UsageError: where this machine does not let the program listen there.

    """
    readiness = _Readiness(ready)
    application = _application(metrics, readiness)
    application.router.add_routes(pages)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_WITHIN_SECONDS)
    await runner.setup()
    try:
        yield await _listen(runner, listen)
    finally:
        readiness.stop_asking()
        await runner.cleanup()


class _Readiness:
    """Asks one question at a time, however many probes come in, and never waits long for the answer."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._question: asyncio.Task[str | None] | None = None

    async def reason_against(self) -> str | None:
        """One line, or None when ready."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask())
        question = self._question
        await asyncio.wait({question}, timeout=READY_WITHIN_SECONDS)
        if question.done() and not question.cancelled():
            return question.result()
        question.cancel()
        return f"the worker did not say within {READY_WITHIN_SECONDS:g} s whether it is ready"

    def stop_asking(self) -> None:
        if self._question is not None:
            self._question.cancel()

    async def _ask(self) -> str | None:
        try:
            reason = await self._ready()
        except Exception as error:  # noqa: BLE001 (whatever is wrong, the answer is "not ready")
            log.warning("readiness unknown", error=error)
            return "the worker could not find out whether it is ready; its log says why"
        return None if reason is None else " ".join(redacted(reason).split())


def _application(metrics: Metrics, readiness: _Readiness) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = await readiness.reason_against()
        return web.Response(text="ready\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    async def show_metrics(_: web.Request) -> web.Response:
        body, content_type = metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application(middlewares=[_faults_stay_inside])
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", show_metrics)
    return application


@web.middleware
async def _faults_stay_inside(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """A fault of ours goes to the log; in debug mode aiohttp would show its traceback to whoever asks."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:
        log.exception("request failed", path=request.path)
        return web.Response(status=500, text="the worker could not answer; its log says why\n")


async def _listen(runner: web.AppRunner, listen: str) -> str:
    host, port = split_address(listen)
    try:
        return await _start(runner, host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UsageError(
                f"worker.http_listen: cannot listen on {listen} ({error.strerror}); write an address of this machine"
            ) from error
    url = await _start(runner, host, 0)
    log.warning("port in use, took another one", wanted=listen, url=url)
    return url


async def _start(runner: web.AppRunner, host: str, port: int) -> str:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except BaseException:
        await site.stop()
        raise
    return site.name

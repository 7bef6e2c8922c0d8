"""The HTTP front: calls of AWS go to `Calls`; the service's own pages are answered here, to this machine only."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import hdrs, web

from worker.config import is_loopback
from worker.local.books.ledger import Ledger
from worker.local.faults.faults import Faults
from worker.local.faults.plan import Plan
from worker.local.front.calls import Calls
from worker.local.protocol.json_protocol import JSON, decoded, json_refusal
from worker.local.protocol.refusals import ServiceError
from worker.local.storage.folders import Folders

_LARGEST_BODY_BYTES = 4 * 2**20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """Routes requests."""

    def __init__(self, calls: Calls, ledger: Ledger, faults: Faults, folders: Folders) -> None:
        self._calls = calls
        self._ledger = ledger
        self._faults = faults
        self._folders = folders

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_get("/healthz", _health, expect_handler=_go_on)
        own_pages = {
            (hdrs.METH_GET, "/_ledger"): self._show_ledger,
            (hdrs.METH_GET, "/_faults"): self._show_faults,
            (hdrs.METH_PUT, "/_faults"): self._put_faults,
            (hdrs.METH_DELETE, "/_faults"): self._end_faults,
            (hdrs.METH_PUT, "/_folders"): self._publish_folder,
        }
        for (method, path), handler in own_pages.items():
            application.router.add_route(method, path, _for_this_machine(handler), expect_handler=_go_on)
        application.router.add_route("*", "/{path:.*}", self._calls.answer, expect_handler=_go_on)
        return application

    async def _show_ledger(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("summary") == "1":
            return _json(await self._ledger.summary())
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
        await response.prepare(request)
        await response.write(await self._ledger.document())
        separator = b""
        for entries in self._ledger.paid():
            await response.write(separator + msgspec.json.encode(entries)[1:-1])
            separator = b","
        await response.write(b"]}")
        return response

    async def _show_faults(self, request: web.Request) -> web.Response:  # noqa: ARG002 (aiohttp hands it over)
        return _json(self._faults.shown())

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults.put(msgspec.json.decode(await request.read(), type=Plan))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServiceError("InvalidArgument", f"The fault plan: {error}") from None
        return _json(self._faults.shown())

    async def _end_faults(self, request: web.Request) -> web.Response:  # noqa: ARG002 (aiohttp hands it over)
        self._faults.put(Plan())
        return _json(self._faults.shown())

    async def _publish_folder(self, request: web.Request) -> web.Response:
        path = decoded(await request.read()).get("path")
        return _json({"bucket": await self._folders.publish(path if isinstance(path, str) else "")})


async def _go_on(request: web.Request) -> None:
    """Ask for the body of a request that waits for that; aiohttp's own way quotes bytes that it cannot encode."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # nothing of the answer itself has been sent


async def _health(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp hands it over)
    return _json({"service": "modworker-local", "pid": os.getpid()})


def _for_this_machine(handler: Handler) -> Handler:
    """The service's own pages change and tell what no client of AWS could."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            _require_this_machine(request)
            return await handler(request)
        except ServiceError as error:
            return json_refusal(error, "")

    return answer


def _require_this_machine(request: web.Request) -> None:
    if not is_loopback(request.remote or ""):
        raise ServiceError("AccessDeniedException", "Only from this machine", 403)


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type=JSON)

"""The HTTP front: which request goes where, and how answers and refusals are written."""

from __future__ import annotations

import ipaddress
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web
from botocore.model import Shape

from worker.local import s3, sts
from worker.local.folders import Folders
from worker.local.identity import Caller, caller_of
from worker.local.ledger import OK, Ledger
from worker.local.refusals import INTERNAL_ERROR, ServiceError
from worker.local.shapes import Fault, first_fault

log = structlog.get_logger()

_LARGEST_BODY_BYTES = 4 * 2**20
_JSON = "application/json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Act = Callable[[Caller, dict[str, Any]], Awaitable[bytes]]


class Operation(msgspec.Struct, frozen=True):
    """An operation of a JSON protocol: `admit` is asked before anything else is done."""

    name: str
    content_type: str
    shape: Shape
    admit: Callable[[Caller], None]
    refuse: Callable[[Fault], ServiceError]
    act: Act


class Front:
    """Routes requests; every answer of an operation is counted in the ledger."""

    def __init__(self, operations: Mapping[str, Operation], objects: s3.S3, ledger: Ledger, folders: Folders) -> None:
        self._operations = operations
        self._s3 = objects
        self._ledger = ledger
        self._folders = folders

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES, middlewares=[_faults_stay_inside])
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/_ledger", self._show_ledger)
        application.router.add_put("/_folders", self._publish_folder)
        application.router.add_post("/{path:.*}", self._post)
        application.router.add_route("*", "/{path:.*}", self._store)
        return application

    async def _post(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target")
        return await (self._query(request) if target is None else self._json(request, target))

    async def _json(self, request: web.Request, target: str) -> web.Response:
        operation = self._operations.get(target)
        if operation is None:
            return _json_refusal(ServiceError("UnknownOperationException", "Unknown operation"), request.content_type)
        try:
            body = await self._answer(request, operation)
        except ServiceError as error:
            self._ledger.count(operation.name, error.code)
            return _json_refusal(error, operation.content_type)
        except Exception:
            self._ledger.count(operation.name, INTERNAL_ERROR)
            raise
        self._ledger.count(operation.name, OK)
        headers = {hdrs.CONTENT_TYPE: operation.content_type, "x-amzn-RequestId": str(uuid.uuid4())}
        return web.Response(body=body, headers=headers)

    async def _answer(self, request: web.Request, operation: Operation) -> bytes:
        caller = caller_of(request.headers.get(hdrs.AUTHORIZATION))
        operation.admit(caller)
        parameters = _decoded(await request.read())
        if fault := first_fault(operation.shape, parameters):
            raise operation.refuse(fault)
        return await operation.act(caller, parameters)

    async def _query(self, request: web.Request) -> web.Response:
        request_id = str(uuid.uuid4())
        try:
            caller = caller_of(request.headers.get(hdrs.AUTHORIZATION))
            action = str((await request.post()).get("Action"))
            body, status = sts.answer(caller, action, request_id), 200
        except ServiceError as error:
            body, status = sts.refusal(error, request_id), error.status
        else:
            self._ledger.count(action, OK)
        return web.Response(body=body, status=status, content_type="text/xml", headers={"x-amzn-RequestId": request_id})

    async def _store(self, request: web.Request) -> web.StreamResponse:
        request_id = uuid.uuid4().hex[:16].upper()
        try:
            operation = s3.operation_of(request)
            caller = caller_of(request.headers.get(hdrs.AUTHORIZATION))
            response = await self._s3.answer(caller, request)
        except ServiceError as error:
            body = b"" if request.method == hdrs.METH_HEAD else s3.refusal(error, request.path, request_id)
            response = web.Response(body=body, status=error.status, content_type="application/xml")
        else:
            self._ledger.count(operation, OK)
        response.headers["x-amz-request-id"] = request_id
        return response

    async def _health(self, request: web.Request) -> web.Response:  # noqa: ARG002 (aiohttp hands it over)
        return _plain_json({"service": "modworker-local", "pid": os.getpid()})

    async def _show_ledger(self, request: web.Request) -> web.StreamResponse:
        if not _is_from_this_machine(request):
            return _forbidden()
        if request.query.get("summary") == "1":
            return _plain_json(await self._ledger.summary())
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: _JSON})
        await response.prepare(request)
        await response.write(await self._ledger.document())
        separator = b""
        for entries in self._ledger.paid():
            await response.write(separator + msgspec.json.encode(entries)[1:-1])
            separator = b","
        await response.write(b"]}")
        return response

    async def _publish_folder(self, request: web.Request) -> web.Response:
        if not _is_from_this_machine(request):
            return _forbidden()
        try:
            path = _decoded(await request.read()).get("path")
            return _plain_json({"bucket": await self._folders.publish(path if isinstance(path, str) else "")})
        except ServiceError as error:
            return _json_refusal(error, _JSON)


@web.middleware
async def _faults_stay_inside(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A fault of the service is logged here; the client hears only that there was one."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:
        log.exception("request_failed", method=request.method, path=request.path)
        return _json_refusal(ServiceError(INTERNAL_ERROR, "Internal server error", 500), _JSON)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServiceError("SerializationException", "The request is not a JSON object") from None


def _plain_json(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type=_JSON)


def _json_refusal(error: ServiceError, content_type: str) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: content_type, "x-amzn-RequestId": str(uuid.uuid4())}
    if error.query_code is not None:
        headers["x-amzn-query-error"] = f"{error.query_code};Sender"
    body = msgspec.json.encode({"__type": error.code, "message": error.message})
    return web.Response(body=body, status=error.status, headers=headers)


def _is_from_this_machine(request: web.Request) -> bool:
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def _forbidden() -> web.Response:
    return _json_refusal(ServiceError("AccessDeniedException", "Only from this machine", 403), _JSON)

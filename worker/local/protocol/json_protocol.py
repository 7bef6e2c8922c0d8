"""AWS JSON 1.0 and 1.1, which SQS and Rekognition speak: the header X-Amz-Target names the operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import hdrs, web
from botocore.model import OperationModel, Shape

from worker.local.protocol.answer_check import check_answer, check_refusal
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError
from worker.local.protocol.shapes import Fault, first_fault

JSON = "application/json"
_MEMBERS = msgspec.json.Decoder(dict[str, Any])

Act = Callable[[Caller, dict[str, Any]], Awaitable[bytes]]


class Operation(msgspec.Struct, frozen=True):
    """An operation: `shape` is that of its requests, `admit` is asked before anything else is done."""

    model: OperationModel
    shape: Shape
    content_type: str
    admit: Callable[[Caller], None]
    refuse: Callable[[Fault], ServiceError]
    act: Act


class JsonProtocol:
    """Carries out the operations of a table by X-Amz-Target."""

    def __init__(self, operations: Mapping[str, Operation], *, check_answers: bool) -> None:
        self._operations = operations
        self._check_answers = check_answers

    def operation_of(self, request: web.Request) -> str:
        """The name behind the service's prefix."""
        return str(self._operation(request).model.name)

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.Response:  # noqa: ARG002 (the header names it)
        """Check the request against its shape, and act."""
        called = self._operation(request)
        try:
            body = await _acted(called, caller, request)
        except ServiceError as error:
            if self._check_answers:
                check_refusal(called.model, error.code)
            raise
        if self._check_answers:
            check_answer(called.model, body)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: called.content_type})

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:
        """In the form of the service that was called."""
        operation = self._operations.get(request.headers["X-Amz-Target"])
        return json_refusal(error, request_id, JSON if operation is None else operation.content_type)

    def _operation(self, request: web.Request) -> Operation:
        if (operation := self._operations.get(request.headers["X-Amz-Target"])) is None:
            raise ServiceError("UnknownOperationException", "Unknown operation")
        return operation


async def _acted(called: Operation, caller: Caller, request: web.Request) -> bytes:
    called.admit(caller)
    parameters = decoded(await request.read())
    if fault := first_fault(called.shape, parameters):
        raise called.refuse(fault)
    return await called.act(caller, parameters)


def json_refusal(error: ServiceError, request_id: str, content_type: str = JSON) -> web.Response:
    """An error as Rekognition writes it; SQS's clients go by `__type` and the header for the older codes."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: content_type}
    if error.query_code is not None:
        at_fault = "Receiver" if error.status >= 500 else "Sender"
        headers["x-amzn-query-error"] = f"{error.query_code};{at_fault}"
    body = {"__type": error.code, "Code": error.code, "Logref": request_id, "Message": error.message}
    return web.Response(body=msgspec.json.encode(body), status=error.status, headers=headers)


def decoded(body: bytes) -> dict[str, Any]:
    """The members of a request.

    Raises:
        ServiceError: the body is no JSON object.

    """
    try:
        return _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServiceError("SerializationException", "The request is not a JSON object") from None

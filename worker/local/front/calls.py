"""The way of a call of AWS: who calls what, which fault spoils it, what it is counted as."""

from __future__ import annotations

import uuid
from typing import Protocol

import anyio
import msgspec
import structlog
from aiohttp import hdrs, web

from worker.local.books.ledger import OK, Ledger
from worker.local.faults.faults import Faults
from worker.local.faults.in_force import Spoiling
from worker.local.faults.plan import Malformed, Refused, Reset, Truncated
from worker.local.faults.spoiling import garbled, reset, truncated
from worker.local.moderation.quotas import Quotas
from worker.local.protocol.documented_errors import INTERNAL_ERROR, Documented, error_of, service_of
from worker.local.protocol.identity import NOBODY, Caller, caller_of
from worker.local.protocol.json_protocol import decoded
from worker.local.protocol.refusals import ServiceError, documented

log = structlog.get_logger()

_GONE = "disconnected"  # what a request is counted as whose client did not wait for the end of its own body
_NO_OPERATION = "unknown"  # what a request for none of the operations here is counted as
_TOO_LARGE = "RequestEntityTooLargeException"


class CallProtocol(Protocol):
    """How operations are named, carried out and refused. Both of the first two raise ServiceError."""

    def operation_of(self, request: web.Request) -> str:
        """The operation's name as AWS spells it."""

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.StreamResponse:
        """Do what is asked for."""

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:
        """The error as this protocol writes it."""


class _Call(msgspec.Struct, frozen=True):
    """A request that has been understood so far that it can be answered."""

    request: web.Request
    request_id: str
    protocol: CallProtocol
    caller: Caller
    operation: str

    def refusal(self, error: ServiceError) -> web.Response:
        """The error in the caller's protocol."""
        return self.protocol.refusal(error, self.request, self.request_id)


class _Answer(msgspec.Struct, frozen=True):
    """`outcome` is "ok", the error's code, or how the answer was spoiled."""

    response: web.StreamResponse
    outcome: str


class Calls:
    """Answers calls in the protocol that they are written in; every one is counted in the ledger."""

    def __init__(
        self,
        json: CallProtocol,
        query: CallProtocol,
        rest: CallProtocol,
        faults: Faults,
        ledger: Ledger,
        quotas: Quotas,
    ) -> None:
        self._json = json
        self._query = query
        self._rest = rest
        self._faults = faults
        self._ledger = ledger
        self._quotas = quotas

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer whatever comes; never raises."""
        protocol, request_id = self._protocol_of(request), str(uuid.uuid4())
        operation, caller = _NO_OPERATION, NOBODY
        try:
            operation = protocol.operation_of(request)
            caller = caller_of(request.headers, request.query)
        except ServiceError as error:
            self._ledger.count(caller, operation, error.code, is_executed=False)
            response: web.StreamResponse = protocol.refusal(error, request, request_id)
        else:
            call = _Call(request, request_id, protocol, caller, operation)
            response = await self._spoiled(call, self._faults.of_call(caller, operation))
        if not response.prepared:
            response.headers["x-amzn-RequestId"] = response.headers["x-amz-request-id"] = request_id
        return response

    def _protocol_of(self, request: web.Request) -> CallProtocol:
        if request.method != hdrs.METH_POST:
            return self._rest
        return self._json if "X-Amz-Target" in request.headers else self._query

    async def _spoiled(self, call: _Call, spoiling: Spoiling) -> web.StreamResponse:
        """Carry the call out unless a fault prevents it, and answer as the fault has it."""
        answer = await _carried_out(call) if spoiling.is_executed else _Answer(web.Response(), "")
        outcome = answer.outcome if spoiling.fault is None else spoiling.fault.outcome
        self._ledger.count(call.caller, call.operation, outcome, is_executed=answer.outcome == OK)
        if spoiling.delay_seconds:
            await anyio.sleep(spoiling.delay_seconds)
        return await self._response_under(spoiling.fault, call, answer.response)

    async def _response_under(
        self, fault: Refused | Reset | Truncated | Malformed | None, call: _Call, response: web.StreamResponse
    ) -> web.StreamResponse:
        match fault:
            case Refused():
                return call.refusal(await self._error_of(fault, call))
            case Reset():
                return reset(call.request)
            case Truncated():
                return await truncated(call.request, response)
            case Malformed():
                return garbled(response)
            case None:
                return response

    async def _error_of(self, fault: Refused, call: _Call) -> ServiceError:
        """The error as the operation's service documents it, where the plan does not say otherwise."""
        found = error_of(fault.code, call.operation, fault.status) or Documented(fault.status or 400, "")
        service = service_of(call.operation)
        message = found.message.format(
            user_arn=call.caller.user_arn,
            action=call.operation if service is None else f"{service.prefix}:{call.operation}",
            limit=self._quotas.of(call.caller).concurrent_jobs,
            token=await _token_of(call.request) if "{token}" in found.message else "",
        )
        return ServiceError(
            fault.code, message if fault.message is None else fault.message, found.status, found.query_code
        )


async def _carried_out(call: _Call) -> _Answer:
    try:
        return _Answer(await _carry_out(call), OK)
    except ServiceError as error:
        return _Answer(call.refusal(error), error.code)
    except web.HTTPException as error:  # the server's own
        return _Answer(error, str(error.status))
    except web.RequestPayloadError:
        return _broken_body(call)
    except ConnectionError:
        return _Answer(web.Response(), _GONE)
    except Exception:
        log.exception("request_failed", operation=call.operation, path=call.request.path)
        return _Answer(call.refusal(documented(INTERNAL_ERROR)), INTERNAL_ERROR)


async def _carry_out(call: _Call) -> web.StreamResponse:
    try:
        return await call.protocol.carry_out(call.caller, call.operation, call.request)
    except web.HTTPRequestEntityTooLarge as error:
        raise ServiceError(_TOO_LARGE, "The request is larger than the service takes.", error.status) from None


def _broken_body(call: _Call) -> _Answer:
    """The body is not what its headers say; nobody knows where the next request begins."""
    error = ServiceError("SerializationException", "The request's body is not of the encoding that its headers tell")
    response = call.refusal(error)
    response.force_close()
    return _Answer(response, error.code)


async def _token_of(request: web.Request) -> str:
    """The ClientRequestToken as the message of a mismatch names it; nothing where there is none."""
    try:
        token = decoded(await request.read()).get("ClientRequestToken")
    except (ServiceError, web.HTTPException, web.RequestPayloadError, ConnectionError):
        return ""
    return f": {token}" if isinstance(token, str) else ""

"""STS's GetCallerIdentity, in AWS's query protocol: a form whose field Action names the operation, answered in XML."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from worker.local.protocol import xml
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_OPERATION = "GetCallerIdentity"


class Sts:
    """Tells callers who they are."""

    def operation_of(self, request: web.Request) -> str:  # noqa: ARG002 (the form names it, and there is only one)
        """The only operation."""
        return _OPERATION

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.Response:
        """Answer the form."""
        if (action := await _action_of(request)) != operation:
            raise ServiceError("InvalidAction", f"Could not find operation {action}")
        identity = [("Arn", caller.user_arn), ("UserId", f"AIDA{caller.account}"), ("Account", caller.account)]
        answer = xml.document(f"{_OPERATION}Response", [(f"{_OPERATION}Result", identity)], _NAMESPACE)
        return web.Response(body=answer, content_type="text/xml")

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:  # noqa: ARG002 (every protocol gets it)
        """The XML form of an error."""
        at_fault = "Receiver" if error.status >= 500 else "Sender"
        detail = [("Type", at_fault), ("Code", error.code), ("Message", error.message)]
        body = xml.document("ErrorResponse", [("Error", detail), ("RequestId", request_id)], _NAMESPACE)
        return web.Response(body=body, status=error.status, content_type="text/xml")


async def _action_of(request: web.Request) -> str:
    try:
        return str((await request.post()).get("Action"))
    except (HttpProcessingError, ValueError, LookupError):  # parts without headers, bytes of no known encoding
        raise ServiceError("MalformedInput", "The request is no form") from None

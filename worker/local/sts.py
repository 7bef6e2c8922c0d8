"""STS's GetCallerIdentity, in AWS's query protocol: a form whose field Action names the operation, answered in XML."""

from __future__ import annotations

from aiohttp import web

from worker.local import xml
from worker.local.identity import Caller
from worker.local.refusals import ServiceError

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_OPERATION = "GetCallerIdentity"


class Sts:
    """Tells callers who they are."""

    def operation_of(self, request: web.Request) -> str:  # noqa: ARG002 (the form names it, and there is only one)
        """The only operation."""
        return _OPERATION

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.Response:
        """Answer the form."""
        if (action := str((await request.post()).get("Action"))) != operation:
            raise ServiceError("InvalidAction", f"Could not find operation {action}")
        identity = [("Arn", caller.user_arn), ("UserId", f"AIDA{caller.account}"), ("Account", caller.account)]
        answer = xml.document(f"{_OPERATION}Response", [(f"{_OPERATION}Result", identity)], _NAMESPACE)
        return web.Response(body=answer, content_type="text/xml")

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:  # noqa: ARG002 (every protocol gets it)
        """The XML form of an error."""
        detail = [("Type", "Sender"), ("Code", error.code), ("Message", error.message)]
        body = xml.document("ErrorResponse", [("Error", detail), ("RequestId", request_id)], _NAMESPACE)
        return web.Response(body=body, status=error.status, content_type="text/xml")

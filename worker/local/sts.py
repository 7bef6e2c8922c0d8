"""STS's query protocol: GetCallerIdentity."""

from __future__ import annotations

from worker.local import xml
from worker.local.identity import Caller
from worker.local.refusals import ServiceError

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def answer(caller: Caller, action: str | None, request_id: str) -> bytes:
    """The XML answer to `Action=GetCallerIdentity`."""
    if action != "GetCallerIdentity":
        raise ServiceError("InvalidAction", f"Could not find operation {action} for version 2011-06-15")
    identity = [("Arn", caller.user_arn), ("UserId", f"AIDA{caller.account}"), ("Account", caller.account)]
    return xml.document(
        "GetCallerIdentityResponse",
        [("GetCallerIdentityResult", identity), ("ResponseMetadata", [("RequestId", request_id)])],
        _NAMESPACE,
    )


def refusal(error: ServiceError, request_id: str) -> bytes:
    """The XML form of an error."""
    detail = [("Type", "Sender"), ("Code", error.code), ("Message", error.message)]
    return xml.document("ErrorResponse", [("Error", detail), ("RequestId", request_id)], _NAMESPACE)

"""Refusals in S3's form.

Reference: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.local.protocol import xml
from worker.local.protocol.refusals import ServiceError


class S3Error(ServiceError):
    """An error of S3: `detail` names what it is about in the answer's body, `headers` stand beside the body."""

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        detail: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = dict(detail or {})
        self.headers = dict(headers or {})
        super().__init__(code, message, status)


def invalid_argument(message: str, name: str, value: str) -> S3Error:
    """A parameter that S3 does not take."""
    return S3Error("InvalidArgument", message, 400, {"ArgumentName": name, "ArgumentValue": value})


def refusal(error: ServiceError, resource: str, request_id: str) -> bytes:
    """The XML form of an error."""
    detail = error.detail.items() if isinstance(error, S3Error) else ()
    return xml.document(
        "Error",
        [("Code", error.code), ("Message", error.message), *detail, ("Resource", resource), ("RequestId", request_id)],
    )

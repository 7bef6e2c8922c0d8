"""Refusals as AWS words them: raised anywhere in the service, written by the protocol that was spoken to."""

from __future__ import annotations

INTERNAL_ERROR = "InternalServerError"


class ServiceError(Exception):
    """An error answer: the AWS error code, the message, the HTTP status.

    `query_code` is the code that SQS's older protocol had for the same error; clients still go by it.
    """

    def __init__(self, code: str, message: str, status: int = 400, query_code: str | None = None) -> None:
        self.code = code
        self.message = message
        self.status = status
        self.query_code = query_code
        super().__init__(f"{code}: {message}")

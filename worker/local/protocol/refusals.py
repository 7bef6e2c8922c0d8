"""Refusals as AWS words them: raised anywhere in the service, written by the protocol that was spoken to."""

from __future__ import annotations

from worker.local.protocol.documented_errors import REKOGNITION


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


def documented(code: str) -> ServiceError:
    """Rekognition's error as it is documented."""
    found = REKOGNITION.errors[code]
    return ServiceError(code, found.message, found.status)


def invalid(reason: str) -> ServiceError:
    """Rekognition's InvalidParameterException: the documented sentence, and what is wrong."""
    refused = documented("InvalidParameterException")
    return ServiceError(refused.code, f"{refused.message} {reason}", refused.status)

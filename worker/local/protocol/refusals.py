"""Refusals as AWS words them: raised anywhere in the service, written by the protocol that was spoken to."""

from __future__ import annotations

INTERNAL_ERROR = "InternalServerError"

_DOCUMENTED = {
    "AccessDeniedException": (400, "User: {user_arn} is not authorized to perform: {operation}"),
    "ExpiredTokenException": (400, "The security token included in the request is expired"),
    "IdempotentParameterMismatchException": (400, "The ClientRequestToken you have supplied is already in use."),
    INTERNAL_ERROR: (500, "Internal server error"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidPaginationTokenException": (400, "Invalid Pagination Token"),
    "InvalidParameterException": (400, "Request has invalid parameters."),
    "InvalidS3ObjectException": (
        400,
        "Unable to get object metadata from S3. Check object key, region and/or access permissions.",
    ),
    "LimitExceededException": (400, "20 open Jobs for User {user_arn} Maximum limit: 20"),
    "ProvisionedThroughputExceededException": (400, "Provisioned Rate exceeded."),
    "ResourceNotFoundException": (400, "The resource specified in the request cannot be found."),
    "ServiceUnavailable": (503, "Service Unavailable"),
    "SlowDown": (503, "Please reduce your request rate."),
    "ThrottlingException": (400, "Slow down; sudden increase in rate of requests."),
    "UnrecognizedClientException": (400, "The security token included in the request is invalid."),
    "VideoTooLargeException": (
        400,
        "Video size in bytes: 10737418241 is more than the maximum limit of: 10737418240 bytes.",
    ),
}
"""Error code -> HTTP status and message. Rekognition's own:
https://docs.aws.amazon.com/rekognition/latest/dg/error-handling.html
"""


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


def documented(code: str, user_arn: str = "", operation: str = "") -> ServiceError:
    """The error as it is documented; 400 and no message for a code that is not known here."""
    status, message = _DOCUMENTED.get(code, (400, ""))
    return ServiceError(code, message.format(user_arn=user_arn, operation=operation), status)


def invalid(reason: str) -> ServiceError:
    """Rekognition's InvalidParameterException: the documented sentence, and what is wrong."""
    refused = documented("InvalidParameterException")
    return ServiceError(refused.code, f"{refused.message} {reason}", refused.status)

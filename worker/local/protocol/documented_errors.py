"""The errors that each service documents: status, message, and the code that SQS's older protocol had for it.

In a message stand `{user_arn}`, `{action}` (such as `sqs:ReceiveMessage`), `{limit}` (of running jobs) and `{token}`
(the ClientRequestToken after a colon, or nothing). Sources:
https://docs.aws.amazon.com/rekognition/latest/dg/error-handling.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html and the pages of its operations
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

INTERNAL_ERROR = "InternalServerError"

_DENIED = "User: {user_arn} is not authorized to perform: {action}"
_EXPIRED = "The security token included in the request is expired"
_UNKNOWN_KEY = "The security token included in the request is invalid."
_OLDER = "AWS.SimpleQueueService."


class Documented(msgspec.Struct, frozen=True):
    """How an error is answered: `query_code` is the code that SQS's older protocol had for it."""

    status: int
    message: str
    query_code: str | None = None


class Service(msgspec.Struct, frozen=True):
    """A service: `prefix` of its actions, the operations that are served here, its errors by code."""

    prefix: str
    operations: frozenset[str]
    errors: Mapping[str, Documented]


REKOGNITION = Service(
    "rekognition",
    frozenset({"StartContentModeration", "GetContentModeration"}),
    {
        "AccessDeniedException": Documented(400, _DENIED),
        "ExpiredTokenException": Documented(400, _EXPIRED),
        "IdempotentParameterMismatchException": Documented(
            400, "The ClientRequestToken{token} you have supplied is already in use."
        ),
        INTERNAL_ERROR: Documented(500, "Internal server error"),
        "InvalidPaginationTokenException": Documented(400, "Invalid Pagination Token"),
        "InvalidParameterException": Documented(400, "Request has invalid parameters."),
        "InvalidS3ObjectException": Documented(
            400, "Unable to get object metadata from S3. Check object key, region and/or access permissions."
        ),
        "InvalidSignatureException": Documented(
            400, "The request signature we calculated does not match the signature you provided."
        ),
        "LimitExceededException": Documented(400, "{limit} open Jobs for User {user_arn} Maximum limit: {limit}"),
        "ProvisionedThroughputExceededException": Documented(400, "Provisioned Rate exceeded."),
        "RequestEntityTooLargeException": Documented(413, "The request is larger than the service takes."),
        "ResourceNotFoundException": Documented(400, "The resource specified in the request cannot be found."),
        "ServiceUnavailable": Documented(503, "Service Unavailable"),
        "ThrottlingException": Documented(400, "Slow down; sudden increase in rate of requests."),
        "UnrecognizedClientException": Documented(400, _UNKNOWN_KEY),
        "VideoTooLargeException": Documented(
            400, "Video size in bytes: 10737418241 is more than the maximum limit of: 10737418240 bytes."
        ),
    },
)
SQS = Service(
    "sqs",
    frozenset(
        {
            "ChangeMessageVisibility",
            "ChangeMessageVisibilityBatch",
            "CreateQueue",
            "DeleteMessage",
            "DeleteMessageBatch",
            "DeleteQueue",
            "GetQueueAttributes",
            "GetQueueUrl",
            "ListDeadLetterSourceQueues",
            "ListQueues",
            "PurgeQueue",
            "ReceiveMessage",
            "SendMessage",
            "SendMessageBatch",
            "SetQueueAttributes",
        }
    ),
    {
        "AccessDenied": Documented(403, _DENIED, "AccessDenied"),
        "AccessDeniedException": Documented(400, _DENIED, "AccessDenied"),
        "ExpiredTokenException": Documented(400, _EXPIRED, "ExpiredToken"),
        "InternalFailure": Documented(500, "We encountered an internal error. Please try again.", "InternalFailure"),
        "InvalidAddress": Documented(404, "The address is not valid for this endpoint.", "InvalidAddress"),
        "InvalidMessageContents": Documented(
            400,
            "Invalid characters found. Valid unicode characters are "
            "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
            "InvalidMessageContents",
        ),
        "InvalidSecurity": Documented(
            403, "The request was not made over HTTPS or was not signed with SigV4.", "InvalidSecurity"
        ),
        "KmsAccessDenied": Documented(
            400, "The caller does not have the required KMS access.", "KMS.AccessDeniedException"
        ),
        "KmsThrottled": Documented(400, "KMS throttles requests.", "KMS.ThrottlingException"),
        "MessageNotInflight": Documented(
            400, "The message referred to isn't in flight.", _OLDER + "MessageNotInflight"
        ),
        "OverLimit": Documented(
            403,
            "Too many messages have been received without being deleted; delete them or let them time out first.",
            "OverLimit",
        ),
        "PurgeQueueInProgress": Documented(
            403, "Only one PurgeQueue operation is allowed every 60 seconds.", _OLDER + "PurgeQueueInProgress"
        ),
        "QueueDeletedRecently": Documented(
            400,
            "You must wait 60 seconds after deleting a queue before you can create another with its name.",
            _OLDER + "QueueDeletedRecently",
        ),
        "QueueDoesNotExist": Documented(
            400,
            "The specified queue does not exist or you do not have access to it.",
            _OLDER + "NonExistentQueue",
        ),
        "QueueNameExists": Documented(
            400, "A queue already exists with the same name and other attributes.", "QueueAlreadyExists"
        ),
        "ReceiptHandleIsInvalid": Documented(
            404, "The input receipt handle is not a valid receipt handle.", "ReceiptHandleIsInvalid"
        ),
        "RequestEntityTooLargeException": Documented(413, "The request is larger than the service takes."),
        "RequestThrottled": Documented(403, "The request was denied due to request throttling.", "RequestThrottled"),
        "ServiceUnavailable": Documented(
            503, "The request has failed due to a temporary failure of the server.", "ServiceUnavailable"
        ),
        "ThrottlingException": Documented(400, "Rate exceeded", "Throttling"),
        "UnrecognizedClientException": Documented(400, _UNKNOWN_KEY, "InvalidClientTokenId"),
        "UnsupportedOperation": Documented(400, "The operation is not supported.", _OLDER + "UnsupportedOperation"),
    },
)
S3 = Service(
    "s3",
    frozenset(
        {
            "GetBucketLocation",
            "GetObject",
            "HeadBucket",
            "HeadObject",
            "ListBuckets",
            "ListObjectVersions",
            "ListObjectsV2",
        }
    ),
    {
        "AccessDenied": Documented(403, _DENIED),
        "AccountProblem": Documented(403, "There is a problem with your account that prevents the operation."),
        "AllAccessDisabled": Documented(403, "All access to this resource has been disabled."),
        "ExpiredToken": Documented(400, "The provided token has expired."),
        "InternalError": Documented(500, "We encountered an internal error. Please try again."),
        "InvalidAccessKeyId": Documented(403, "The access key ID that you provided does not exist in our records."),
        "InvalidObjectState": Documented(403, "The operation is not valid for the object's storage class"),
        "InvalidRange": Documented(416, "The requested range is not satisfiable"),
        "InvalidToken": Documented(400, "The provided token is malformed or otherwise not valid."),
        "MethodNotAllowed": Documented(405, "The specified method is not allowed against this resource."),
        "NoSuchBucket": Documented(404, "The specified bucket does not exist"),
        "NoSuchKey": Documented(404, "The specified key does not exist."),
        "NoSuchVersion": Documented(404, "The specified version does not exist."),
        "OperationAborted": Documented(409, "A conflicting conditional operation is in progress. Try again."),
        "PreconditionFailed": Documented(412, "At least one of the pre-conditions you specified did not hold"),
        "RequestTimeTooSkewed": Documented(
            403, "The difference between the request time and the server's time is too large."
        ),
        "RequestTimeout": Documented(
            400, "Your socket connection to the server was not read from or written to within the timeout period."
        ),
        "ServiceUnavailable": Documented(503, "Please reduce your request rate."),
        "SignatureDoesNotMatch": Documented(
            403, "The request signature that the server calculated does not match the signature that you provided."
        ),
        "SlowDown": Documented(503, "Please reduce your request rate."),
    },
)
STS = Service(
    "sts",
    frozenset({"GetCallerIdentity"}),
    {
        "AccessDenied": Documented(403, _DENIED),
        "ExpiredToken": Documented(403, _EXPIRED),
        "ExpiredTokenException": Documented(400, _EXPIRED),
        "InternalFailure": Documented(500, "The request processing has failed because of an internal error."),
        "InvalidClientTokenId": Documented(403, _UNKNOWN_KEY),
        "RegionDisabledException": Documented(403, "STS is not activated in this region for account."),
        "RequestEntityTooLargeException": Documented(413, "The request is larger than the service takes."),
        "ServiceUnavailable": Documented(503, "The request has failed due to a temporary failure of the server."),
        "SignatureDoesNotMatch": Documented(
            403, "The request signature we calculated does not match the signature you provided."
        ),
        "Throttling": Documented(400, "Rate exceeded"),
    },
)
SERVICES = (REKOGNITION, SQS, S3, STS)
OPERATIONS = frozenset[str]().union(*(service.operations for service in SERVICES))

_MESSAGE_AT_STATUS = {("ThrottlingException", 500): "Service Unavailable"}
"""Rekognition's throttling error has another message with another status."""


def service_of(operation: str) -> Service | None:
    """The service that has the operation; no two of them share a name."""
    return next((service for service in SERVICES if operation in service.operations), None)


def error_of(code: str, operation: str, status: int | None = None) -> Documented | None:
    """How the operation's service answers the error, else the first that documents it; None where none does."""
    own = service_of(operation)
    tables = [service.errors for service in (SERVICES if own is None else (own, *SERVICES))]
    found = next((errors[code] for errors in tables if code in errors), None)
    if found is None or status is None:
        return found
    message = _MESSAGE_AT_STATUS.get((code, status), found.message)
    return msgspec.structs.replace(found, status=status, message=message)

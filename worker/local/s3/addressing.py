"""Which operation, bucket and key a request with a path-style address names."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
from aiohttp import hdrs, web

from worker.local.s3.refusals import S3Error
from worker.local.storage.objects import LONGEST_KEY_BYTES

# Requests for these parts of a bucket or an object are other operations than the one without them.
_SUBRESOURCES = frozenset(
    """
    accelerate acl analytics attributes cors encryption intelligent-tiering inventory legal-hold lifecycle location
    logging metadataConfiguration metadataTable metrics notification object-lock ownershipControls partNumber policy
    policyStatus publicAccessBlock replication requestPayment restore retention select session tagging torrent
    uploadId uploads versioning versions website
    """.split()  # noqa: SIM905 (words read better than a list of 36 lines)
)
_OPERATIONS = {
    ("GET", "service", ""): "ListBuckets",
    ("HEAD", "bucket", ""): "HeadBucket",
    ("GET", "bucket", "list-type=2"): "ListObjectsV2",
    ("GET", "bucket", "location"): "GetBucketLocation",
    ("GET", "bucket", "versions"): "ListObjectVersions",
    ("HEAD", "object", ""): "HeadObject",
    ("GET", "object", ""): "GetObject",
}


class Address(msgspec.Struct, frozen=True):
    """The bucket and the key of a request, each empty where the request names none."""

    bucket: str
    key: str


def operation_of(request: web.Request) -> str:
    """Which of the operations that there are here the request asks for.

    Raises:
        S3Error: it asks for another.

    """
    bucket, key = _raw_parts(request)
    level = "object" if key else "bucket" if bucket else "service"
    wanted = sorted(_SUBRESOURCES & request.query.keys())
    if not wanted and level == "bucket" and request.method == hdrs.METH_GET and request.query.get("list-type") == "2":
        wanted = ["list-type=2"]
    operation = _OPERATIONS.get((request.method, level, "&".join(wanted)))
    if operation is None:
        message = "A header you provided implies functionality that is not implemented"
        raise S3Error("NotImplemented", message, 501)
    return operation


def address_of(request: web.Request) -> Address:
    """Read the path, whose escapes stand for any character of a key, a slash as well.

    Raises:
        S3Error: the path is not UTF-8, or the key is too long.

    """
    try:
        bucket, key = (unquote(part, errors="strict") for part in _raw_parts(request))
        length_bytes = len(key.encode())
    except UnicodeError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI.") from None
    if length_bytes > LONGEST_KEY_BYTES:
        detail = {"Size": str(length_bytes), "MaxSizeAllowed": str(LONGEST_KEY_BYTES)}
        raise S3Error("KeyTooLongError", "Your key is too long", detail=detail)
    return Address(bucket, key)


def _raw_parts(request: web.Request) -> tuple[str, str]:
    bucket, _, key = request.rel_url.raw_path.removeprefix("/").partition("/")
    return bucket, key

"""The S3 requests that a worker makes, with path-style addresses.

Reference: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import islice
from urllib.parse import quote, unquote

import anyio.to_thread
import msgspec
from aiohttp import hdrs, web

from worker.local import xml
from worker.local.buckets import Buckets
from worker.local.identity import Caller
from worker.local.objects import Bucket, StoredObject
from worker.local.refusals import ServiceError

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_LARGEST_PAGE = 1000


class _Listing(msgspec.Struct, frozen=True):
    """What a ListObjectsV2 request asks for."""

    bucket: str
    prefix: str
    start_after: str
    continuation_token: str | None
    most: int
    url_encoded: bool


class S3:
    """Answers requests below `/bucket`."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def answer(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        """Carry the request out, or raise what S3 would answer."""
        name, _, raw_key = request.rel_url.raw_path.removeprefix("/").partition("/")
        bucket = self._buckets.bucket(unquote(name))
        if bucket is None:
            raise ServiceError("NoSuchBucket", "The specified bucket does not exist", 404)
        headers = {"x-amz-bucket-region": caller.region}
        operation = operation_of(request)
        if operation == "HeadBucket":
            return web.Response(headers=headers)
        if operation == "ListObjectsV2":
            listing = _listing(unquote(name), request.query)
            return web.Response(
                body=await self._listed(bucket, listing), content_type="application/xml", headers=headers
            )
        version_id = request.query.get("versionId")
        found = await self._object(bucket, unquote(raw_key), version_id)
        return _content(found) if operation == "GetObject" else web.Response(headers=_object_headers(found))

    async def _object(self, bucket: Bucket, key: str, version_id: str | None) -> StoredObject:
        if (found := await self._buckets.object(bucket, key, version_id)) is not None:
            return found
        if version_id is not None:
            raise ServiceError("NoSuchVersion", "The specified version does not exist.", 404)
        raise ServiceError("NoSuchKey", "The specified key does not exist.", 404)

    async def _listed(self, bucket: Bucket, listing: _Listing) -> bytes:
        after = _last_key(listing.continuation_token) if listing.continuation_token else listing.start_after
        found = await anyio.to_thread.run_sync(
            lambda: list(islice(bucket.listed(listing.prefix, after), listing.most + 1))
        )
        return await anyio.to_thread.run_sync(_listing_document, listing, found)


def operation_of(request: web.Request) -> str:
    """Which of the operations that there are here the request asks for."""
    has_key = bool(request.rel_url.raw_path.removeprefix("/").partition("/")[2])
    wanted = (request.method, has_key)
    if wanted == (hdrs.METH_GET, False) and request.query.get("list-type") == "2" and "delimiter" not in request.query:
        return "ListObjectsV2"
    operations = {("HEAD", False): "HeadBucket", ("HEAD", True): "HeadObject", ("GET", True): "GetObject"}
    if wanted not in operations:
        raise ServiceError(
            "NotImplemented", "A header or query you provided implies functionality that is not there", 501
        )
    return operations[wanted]


def refusal(error: ServiceError, resource: str, request_id: str) -> bytes:
    """The XML form of an error."""
    detail = [("Code", error.code), ("Message", error.message), ("Resource", resource), ("RequestId", request_id)]
    return xml.document("Error", detail)


def _listing(bucket: str, query: Mapping[str, str]) -> _Listing:
    most = query.get("max-keys", str(_LARGEST_PAGE))
    encoding = query.get("encoding-type", "")
    if not (most.isascii() and most.isdigit()):
        raise ServiceError("InvalidArgument", "Provided max-keys not an integer or within integer range")
    if encoding not in ("", "url"):
        raise ServiceError("InvalidArgument", "Invalid Encoding Method specified in Request")
    return _Listing(
        bucket=bucket,
        prefix=query.get("prefix", ""),
        start_after=query.get("start-after", ""),
        continuation_token=query.get("continuation-token"),
        most=min(_LARGEST_PAGE, int(most)),
        url_encoded=encoding == "url",
    )


def _listing_document(listing: _Listing, found: list[StoredObject]) -> bytes:
    """The page, from up to one object more than it may hold."""
    page = found[: listing.most]
    is_truncated = bool(page) and len(found) > listing.most

    def encoded(text: str) -> str:
        return quote(text, safe="/") if listing.url_encoded else text

    nodes: list[tuple[str, xml.Node]] = [
        ("Name", listing.bucket),
        ("Prefix", encoded(listing.prefix)),
        ("KeyCount", str(len(page))),
        ("MaxKeys", str(listing.most)),
        ("IsTruncated", "true" if is_truncated else "false"),
    ]
    if listing.url_encoded:
        nodes.append(("EncodingType", "url"))
    if listing.start_after:
        nodes.append(("StartAfter", encoded(listing.start_after)))
    if listing.continuation_token:
        nodes.append(("ContinuationToken", listing.continuation_token))
    if is_truncated:
        nodes.append(("NextContinuationToken", _continuation_token(page[-1].key)))
    nodes += [("Contents", _contents(item, encoded(item.key))) for item in page]
    return xml.document("ListBucketResult", nodes, _NAMESPACE)


def _contents(item: StoredObject, key: str) -> list[tuple[str, xml.Node]]:
    modified_at = datetime.fromtimestamp(item.modified_at_seconds, UTC)
    return [
        ("Key", key),
        ("LastModified", modified_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")),
        ("ETag", f'"{item.etag}"'),
        ("Size", str(item.size_bytes)),
        ("StorageClass", "STANDARD"),
    ]


def _continuation_token(last_key: str) -> str:
    return base64.urlsafe_b64encode(last_key.encode()).decode()


def _last_key(continuation_token: str) -> str:
    try:
        return base64.b64decode(continuation_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ServiceError("InvalidArgument", "The continuation token provided is incorrect") from None


def _object_headers(found: StoredObject) -> dict[str, str]:
    headers: dict[str, str] = {
        hdrs.CONTENT_LENGTH: str(found.size_bytes),
        hdrs.CONTENT_TYPE: "binary/octet-stream",
        hdrs.ETAG: f'"{found.etag}"',
        hdrs.LAST_MODIFIED: formatdate(found.modified_at_seconds, usegmt=True),
        hdrs.ACCEPT_RANGES: "bytes",
    }
    return headers if found.version_id is None else headers | {"x-amz-version-id": found.version_id}


def _content(found: StoredObject) -> web.StreamResponse:
    if found.path is None:
        raise ServiceError("NotImplemented", "Objects of the made-up archive have no content", 501)
    return web.FileResponse(found.path, headers={hdrs.CONTENT_TYPE: "binary/octet-stream"})

"""HeadObject and GetObject.

References: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
and https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

from aiohttp import hdrs, web

from worker.local.protocol.streamed import Streamed
from worker.local.s3.conditions import is_known_to_caller, is_range_wanted
from worker.local.s3.ranges import Part, wanted_part
from worker.local.s3.refusals import S3Error, invalid_argument
from worker.local.storage.objects import STANDARD, Bucket, StoredObject

# What a signed request may say in place of the object's own headers.
_OVERRIDES = {
    "response-cache-control": hdrs.CACHE_CONTROL,
    "response-content-disposition": hdrs.CONTENT_DISPOSITION,
    "response-content-encoding": hdrs.CONTENT_ENCODING,
    "response-content-language": hdrs.CONTENT_LANGUAGE,
    "response-content-type": hdrs.CONTENT_TYPE,
    "response-expires": hdrs.EXPIRES,
}


async def head_object(request: web.Request, bucket: Bucket, key: str) -> web.StreamResponse:
    """What GetObject would answer, without the bytes."""
    found = await _found(bucket, key, request.query.get("versionId"))
    if is_known_to_caller(request.headers, found):
        return _not_modified(found)
    status, headers, _ = _described(request, found)
    return web.Response(status=status, headers=headers)


async def get_object(request: web.Request, bucket: Bucket, key: str) -> web.StreamResponse:
    """The object's bytes, or the range of them that is asked for."""
    found = await _found(bucket, key, request.query.get("versionId"))
    if not found.is_readable:
        message = "The operation is not valid for the object's storage class"
        raise S3Error("InvalidObjectState", message, 403, {"StorageClass": found.storage_class})
    if is_known_to_caller(request.headers, found):
        return _not_modified(found)
    status, headers, part = _described(request, found)
    return Streamed(status, headers, bucket.content(found, part.first_byte, part.length_bytes))


async def _found(bucket: Bucket, key: str, version_id: str | None) -> StoredObject:
    if version_id == "":
        raise invalid_argument("Version id cannot be the empty string", "versionId", version_id)
    if (found := await bucket.find(key, version_id)) is not None:
        return found
    if version_id is not None:
        detail = {"Key": key, "VersionId": version_id}
        raise S3Error("NoSuchVersion", "The specified version does not exist.", 404, detail)
    raise S3Error("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})


def _described(request: web.Request, found: StoredObject) -> tuple[int, dict[str, str], Part]:
    """(status, headers, what to send)."""
    wanted = request.headers.get(hdrs.RANGE) if is_range_wanted(request.headers, found) else None
    part = wanted_part(wanted, found.size_bytes)
    sent = part or Part(0, found.size_bytes)
    headers = {
        hdrs.CONTENT_TYPE: "binary/octet-stream",
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_LENGTH: str(sent.length_bytes),
        **_state(found),
        **_overrides(request.query),
    }
    if found.storage_class != STANDARD:
        headers["x-amz-storage-class"] = found.storage_class
    if part is None:
        return 200, headers, sent
    return 206, headers | {hdrs.CONTENT_RANGE: part.content_range(found.size_bytes)}, sent


def _not_modified(found: StoredObject) -> web.Response:
    return web.Response(status=304, headers=_state(found))


def _state(found: StoredObject) -> dict[str, str]:
    """Headers by which a client knows the object again."""
    state: dict[str, str] = {
        hdrs.ETAG: f'"{found.etag}"',
        hdrs.LAST_MODIFIED: formatdate(int(found.modified_at_seconds), usegmt=True),
    }
    return state if found.version_id is None else state | {"x-amz-version-id": found.version_id}


def _overrides(query: Mapping[str, str]) -> dict[str, str]:
    overrides = {header: query[name] for name, header in _OVERRIDES.items() if name in query}
    for name in _OVERRIDES.keys() & query.keys():
        if not query[name].isprintable():
            raise invalid_argument("Header value cannot be represented", name, query[name])
    return {str(header): value for header, value in overrides.items()}

"""Carries out the S3 requests that there are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio.to_thread
from aiohttp import hdrs, web

from worker.local.protocol import xml
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError
from worker.local.s3.addressing import Address, address_of, operation_of
from worker.local.s3.listing import NAMESPACE, objects_document, versions_document
from worker.local.s3.overview import buckets_document
from worker.local.s3.reading import get_object, head_object
from worker.local.s3.refusals import S3Error, refusal
from worker.local.storage.buckets import Buckets
from worker.local.storage.objects import Bucket

_REGION_HEADER = "x-amz-bucket-region"
_REGION_WITHOUT_NAME = "us-east-1"  # a bucket of this region has an empty LocationConstraint

Listing = Callable[[Caller, str, Bucket, Mapping[str, str]], bytes]


class S3:
    """Answers requests below `/`."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def operation_of(self, request: web.Request) -> str:
        """By method, path and query."""
        return operation_of(request)

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.StreamResponse:
        """Answer the request, or raise what S3 would answer."""
        address = address_of(request)
        if operation == "ListBuckets":
            return _document(buckets_document(caller, self._buckets.names(), request.query))
        bucket = self._bucket(address)
        region = bucket.region or caller.region
        if operation == "GetBucketLocation":  # from anywhere: it is how the region is found
            return _document(_location_document(region))
        if region != caller.region:
            raise _redirect(request, address, region)
        if operation == "HeadBucket":
            return web.Response(headers={_REGION_HEADER: region, hdrs.CONTENT_TYPE: "application/xml"})
        if operation == "HeadObject":
            return await head_object(request, bucket, address.key)
        if operation == "GetObject":
            return await get_object(request, bucket, address.key)
        listing: Listing = objects_document if operation == "ListObjectsV2" else versions_document
        body = await anyio.to_thread.run_sync(listing, caller, address.bucket, bucket, request.query)
        return _document(body, {_REGION_HEADER: region})

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:
        """HEAD is refused without a body."""
        body = b"" if request.method == hdrs.METH_HEAD else refusal(error, request.path, request_id)
        headers = error.headers if isinstance(error, S3Error) else None
        return web.Response(body=body, status=error.status, content_type="application/xml", headers=headers)

    def _bucket(self, address: Address) -> Bucket:
        if (bucket := self._buckets.bucket(address.bucket)) is not None:
            return bucket
        detail = {"BucketName": address.bucket}
        raise S3Error("NoSuchBucket", "The specified bucket does not exist", 404, detail)


def _document(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/xml", headers=headers)


def _location_document(region: str) -> bytes:
    return xml.document("LocationConstraint", "" if region == _REGION_WITHOUT_NAME else region, NAMESPACE)


def _redirect(request: web.Request, address: Address, region: str) -> S3Error:
    """The endpoint is this service again, which is every region's."""
    message = (
        "The bucket you are attempting to access must be addressed using the specified endpoint. "
        "Please send all future requests to this endpoint."
    )
    detail = {"Endpoint": request.host, "Bucket": address.bucket}
    return S3Error("PermanentRedirect", message, 301, detail, {_REGION_HEADER: region})

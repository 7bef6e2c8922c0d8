"""Objects in S3: one by HEAD, many by listing, and the region of a bucket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from msgspec import Struct

from worker.aws.answers import translated
from worker.aws.heads import Heads
from worker.aws.requests import Requests
from worker.errors import AwsError, UnreadableError, Verdict
from worker.model import ListedObject, Object, ResolvedObject

NO_VERSION = "null"  # what S3 answers for an object that was written before its bucket kept versions
_BLOCK_BYTES = 1 << 20
_LONGEST_TEXT = 1_024  # symbols: VersionIds have no more, ETags far fewer


class Listed(Struct, frozen=True):
    """One page of a listing; `next` leads to the one that follows, None after the last."""

    objects: list[Object]
    next: str | None


class Objects:
    """S3 as one lane sees it."""

    def __init__(self, requests: Requests) -> None:
        self._client = requests.client
        self._client.meta.events.register_first("choose-signer.s3.GetObject", _present_signature)
        self._heads = Heads(requests)

    async def head(self, named: Object) -> ResolvedObject:
        """What the object is now; pins its version.

        Raises:
            AwsError: VIDEO_REJECTED if it is gone, STOP_LANE if it is denied.

        """
        with translated():
            told = await self._heads.send(named.bucket, named.key, named.version_id)
            version = _text(told.get("x-amz-version-id"))
            return ResolvedObject(
                bucket=named.bucket,
                key=named.key,
                version_id=named.version_id or (None if version in ("", NO_VERSION) else version),
                etag=_text(told.get("etag")).strip('"'),
                size_bytes=int(told.get("content-length", 0)),
                storage_class=_text(told.get("x-amz-storage-class")) or "STANDARD",
            )

    async def page(self, bucket: str, prefix: str, token: str | None) -> Listed:
        """The page of a listing that a token leads to, None for the first; markers of folders are left out.

        Raises:
            AwsError: an UnreadableError for a listing that has no end.

        """
        continued = {"ContinuationToken": token} if token is not None else {}
        with translated():
            page = await self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, **continued)
            found = [_listed(bucket, entry) for entry in page.get("Contents", [])]
            following = str(page["NextContinuationToken"]) if page.get("IsTruncated") else None
            if following is not None and following == token:
                raise UnreadableError("a page of the listing names itself as the next one")
        return Listed([named for named in found if not named.key.endswith("/")], following)

    async def address(
        self, bucket: str, key: str, version_id: str | None, *, content_type: str, good_for_seconds: int
    ) -> str:
        """Where whoever has the address may read this version, for a while: it is signed, and as secret as that.

        Nothing is asked of S3 for it.

        Raises:
            AwsError: STOP_LANE if there are no credentials to sign with.

        """
        version = {"VersionId": version_id} if version_id else {}
        named = {"Bucket": bucket, "Key": key, "ResponseContentType": content_type, **version}
        with translated():
            return str(await self._client.generate_presigned_url("get_object", named, ExpiresIn=good_for_seconds))

    async def content(self, bucket: str, key: str) -> AsyncGenerator[bytes, None]:
        """An object's bytes, some at a time.

        Raises:
            AwsError: as `head`, and RETRY where the answer was cut short.

        """
        with translated():
            body = (await self._client.get_object(Bucket=bucket, Key=key))["Body"]
            async with body:
                async for block in body.iter_chunks(_BLOCK_BYTES):
                    yield block

    async def region_of(self, bucket: str, example: Object | None = None) -> str | None:
        """The region of a bucket, as S3 tells even where it refuses; None where it tells nothing.

        A store that serves objects and knows no operations on buckets is believed if it has the example.

        Raises:
            AwsError: VIDEO_REJECTED if there is no such bucket.

        """
        try:
            return await self._told_region(bucket)
        except AwsError as error:
            if error.verdict is not Verdict.VIDEO_REJECTED or example is None:
                raise
            await self.head(example)
            return None

    async def _told_region(self, bucket: str) -> str | None:
        with translated():
            try:
                response = await self._client.head_bucket(Bucket=bucket)
            except ClientError as error:
                response = error.response
                if response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (301, 400, 403):
                    raise
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = response.get("BucketRegion") or headers.get("x-amz-bucket-region")
        return str(region) if region else None


def _present_signature(signature_version: str, **_: object) -> str | None:
    """For addresses the SDK would choose the old signature, which newer regions do not know."""
    return "s3v4-query" if signature_version.endswith("-query") else None


def _listed(bucket: str, entry: Mapping[str, Any]) -> ListedObject:
    """What a listing tells of an object."""
    return ListedObject(
        bucket,
        entry["Key"],
        size_bytes=entry.get("Size"),
        modified_at=entry.get("LastModified"),
        storage_class=entry.get("StorageClass") or "STANDARD",
    )


def _text(told: str | None) -> str:
    """What a header tells, "" for nothing.

    Raises:
        UnreadableError: for a text that no object can have.

    """
    if told and (len(told) > _LONGEST_TEXT or not told.isprintable()):
        raise UnreadableError(f"S3 tells {told[:40]!r} of the object")
    return told or ""

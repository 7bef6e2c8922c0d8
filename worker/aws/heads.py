"""HeadObject, sent to where the SDK finds the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from urllib.parse import quote, urlsplit

from botocore.exceptions import ClientError
from msgspec import Struct

from worker.aws.requests import Requests
from worker.aws.signature import Signature, Unsigned
from worker.errors import AwsError, Verdict

HEAD = "HeadObject"
_HEADERS = {"x-amz-content-sha256": sha256().hexdigest()}
_ELSEWHERE = frozenset({301, 302, 307, 400})  # may mean that the bucket is in another region: HEAD has no body to tell


class _Place(Struct, frozen=True):
    """Where the objects of a bucket are."""

    url: str
    path: str  # of the URL
    signature: Signature


class Heads:
    """What is asked of objects in any bucket; a bucket is looked for once, and again where it is not any more."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._client = requests.client
        self._places: dict[str, _Place] = {}

    async def send(self, bucket: str, key: str, version_id: str | None) -> Mapping[str, str]:
        """The headers of the answer.

        Raises:
            AwsError: for a bucket of another kind.
            ClientError: what S3 said instead.

        """
        place = self._places.get(bucket) or await self._find(bucket)
        try:
            return await self._ask(place, key, version_id)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _ELSEWHERE:
                raise
            found = await self._find_again(bucket)
            if found.signature.region == place.signature.region:
                raise
        return await self._ask(found, key, version_id)

    async def _ask(self, place: _Place, key: str, version_id: str | None) -> Mapping[str, str]:
        name = f"/{quote(key, safe='/')}"
        query = f"versionId={quote(version_id, safe='')}" if version_id else ""
        url = f"{place.url}{name}?{query}" if query else f"{place.url}{name}"
        request = Unsigned("HEAD", f"{place.path}{name}", _HEADERS, query)
        answer = await self._requests.send(HEAD, url, request, place.signature)
        headers: Mapping[str, str] = answer.headers
        return headers

    async def _find_again(self, bucket: str) -> _Place:
        """The SDK follows S3 to a bucket's region, and knows it from then on."""
        with suppress(ClientError):
            await self._client.head_bucket(Bucket=bucket)
        return await self._find(bucket)

    async def _find(self, bucket: str) -> _Place:
        client, operation = self._client, self._client.meta.service_model.operation_model(HEAD)
        # The SDK offers no other way to its rules: the host or a path for the bucket, its region, FIPS and the like.
        url, _, about = await client._resolve_endpoint_ruleset(operation, {"Bucket": bucket}, {})  # noqa: SLF001
        ways = {way["name"]: way for way in about["authSchemes"]}
        if "sigv4" not in ways:
            reason = f"requests to bucket {bucket} are not signed as those to others ({', '.join(ways)})"
            raise AwsError(Verdict.JOB_FAILED, "OtherBucket", reason)
        url, way = url.rstrip("/"), ways["sigv4"]
        signature = Signature(url, way["signingName"], way["signingRegion"])
        self._places[bucket] = place = _Place(url, urlsplit(url).path, signature)
        return place

"""Whether what arrived at a server is signed as botocore would sign it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from unittest import mock

from aiohttp import web
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

_GIVEN = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{64}"
)


def signed_by_botocore(signer: SigV4Auth, request: AWSRequest, at: datetime) -> dict[str, str]:
    """The headers of the request, with those that botocore adds."""
    with mock.patch("botocore.auth.get_current_datetime", return_value=at):
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def is_signed_as_by_botocore(request: web.Request, body: bytes, secret: str) -> bool:
    """True if botocore, given the very line, headers and body that arrived, comes to the same signature."""
    given = _GIVEN.fullmatch(request.headers["Authorization"])
    assert given
    keys = ReadOnlyCredentials(given["key"], secret, request.headers.get("X-Amz-Security-Token"))
    headers = {name: request.headers[name] for name in given["names"].split(";")}
    signer = (S3SigV4Auth if given["service"] == "s3" else SigV4Auth)(keys, given["service"], given["region"])
    at = datetime.strptime(headers.pop("x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    arrived = AWSRequest(request.method, f"http://{request.host}{request.raw_path}", headers, body)
    return signed_by_botocore(signer, arrived, at)["authorization"] == request.headers["Authorization"]

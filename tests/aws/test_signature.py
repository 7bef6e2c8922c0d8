"""The signature is the one that botocore would compute, with whatever was signed before."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from tests.aws.signed import signed_by_botocore
from worker.aws.signature import Signature, Unsigned

POSTED = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "RekognitionService.GetContentModeration"}
LOOKED_UP = {"x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}  # of nothing
URLS = (
    "https://rekognition.us-east-1.amazonaws.com/",
    "https://vpce-1.rekognition.us-east-1.vpce.amazonaws.com:443/",
    "http://127.0.0.1:8080/",
    "http://[::1]:80/",
    "https://Proxy.example:8443/aws/a%20b/",
)
WORDS = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=40)
KEYS = st.builds(ReadOnlyCredentials, WORDS, WORDS, st.none() | WORDS)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis adds it)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@pytest.mark.parametrize("url", URLS)
@given(calls=st.lists(st.tuples(st.binary(max_size=100), KEYS, MOMENTS), min_size=1, max_size=3))
def test_posts_are_signed_as_by_botocore(url: str, calls: list[tuple[bytes, ReadOnlyCredentials, datetime]]):
    """By one signer after another request, other credentials and another day; the host is told besides."""
    signature = Signature(url, "rekognition", "us-east-1")
    path = quote(urlsplit(url).path)
    for body, keys, at in [*calls, *calls]:
        signed = signature.signed(Unsigned("POST", path, POSTED, body=body), keys, at)
        assert signed.pop("host") in url.lower()
        signer = SigV4Auth(keys, "rekognition", "us-east-1")
        assert signed == signed_by_botocore(signer, AWSRequest("POST", url, dict(POSTED), body), at)


@pytest.mark.parametrize("url", ["https://archive.s3.eu-west-1.amazonaws.com", "http://127.0.0.1:8080/archive"])
@given(key=NAMES, version_id=st.none() | NAMES, keys=KEYS, at=MOMENTS)
def test_heads_are_signed_as_by_botocore(
    url: str, key: str, version_id: str | None, keys: ReadOnlyCredentials, at: datetime
):
    """Whatever the key and the version: S3's paths are signed as they are sent."""
    path = f"{urlsplit(url).path}/{quote(key)}"
    query = f"versionId={quote(version_id, safe='')}" if version_id else ""
    signature = Signature(url, "s3", "eu-west-1")
    signed = signature.signed(Unsigned("HEAD", path, LOOKED_UP, query), keys, at)
    assert signed.pop("host") in url
    request = AWSRequest("HEAD", f"{url}/{quote(key)}", params={"versionId": version_id} if version_id else {})
    assert signed == signed_by_botocore(S3SigV4Auth(keys, "s3", "eu-west-1"), request, at)

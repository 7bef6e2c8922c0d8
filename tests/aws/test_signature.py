"""The signature is the one that botocore would compute, with whatever was signed before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from worker.aws.signature import Signature

HEADERS = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "RekognitionService.GetContentModeration"}
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


def signed_by_botocore(url: str, body: bytes, keys: Any, at: datetime) -> dict[str, str]:
    """The headers that botocore adds."""
    request = AWSRequest("POST", url, dict(HEADERS), body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=at):
        SigV4Auth(keys, "rekognition", "us-east-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("url", URLS)
@given(calls=st.lists(st.tuples(st.binary(max_size=100), KEYS, MOMENTS), min_size=1, max_size=3))
def test_requests_are_signed_as_by_botocore(url: str, calls: list[tuple[bytes, ReadOnlyCredentials, datetime]]):
    """Of one signer after another request, other credentials and another day; the host is told besides."""
    signature = Signature(url, "rekognition", "us-east-1")
    for body, keys, at in [*calls, *calls]:
        signed = signature.signed(HEADERS, body, keys, at)
        assert signed.pop("host") in url.lower()
        assert signed == signed_by_botocore(url, body, keys, at)

"""Addresses by which a browser reads one version of an object for a while."""

from __future__ import annotations

from contextlib import AsyncExitStack
from urllib.parse import parse_qs, urlsplit

import pytest

from worker.aws.objects import Objects
from worker.aws.session import Credentials, bucket_requests
from worker.config import Lane

KEY = "2024/Übung #1 + 100%? a=b&c.mp4"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
async def test_an_address_is_signed_for_one_version_and_a_while(region: str):
    """By the present signature in every region, at AWS's own host, without asking anybody for it."""
    async with AsyncExitStack() as stack:
        given = Credentials("AKIA0000000000000000", "secret")
        objects = Objects(await bucket_requests(Lane(region=region), given, stack))
        address = await objects.address("archive", KEY, "v/1+=", content_type="video/mp4", good_for_seconds=600)
        newest = await objects.address("archive", KEY, None, content_type="video/mp4", good_for_seconds=600)
    parts = urlsplit(address)
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.scheme, parts.path) == ("https", "/2024/%C3%9Cbung%20%231%20%2B%20100%25%3F%20a%3Db%26c.mp4")
    assert parts.hostname in (f"archive.s3.{region}.amazonaws.com", "archive.s3.amazonaws.com")
    assert asked["versionId"] == "v/1+="
    assert (asked["X-Amz-Algorithm"], asked["X-Amz-Expires"]) == ("AWS4-HMAC-SHA256", "600")
    assert asked["X-Amz-Credential"].endswith(f"/{region}/s3/aws4_request")
    assert asked["response-content-type"] == "video/mp4"
    assert "versionId" not in newest

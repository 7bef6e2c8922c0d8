"""HEAD without the SDK's pipeline goes where the SDK would send it, in the same words, and follows a bucket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aioboto3
import pytest
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiohttp import web
from botocore.exceptions import ClientError
from msgspec import Struct

from tests.aws.signed import is_signed_as_by_botocore
from tests.aws.test_posts import SECRET, head
from tests.system.small_aws import SmallAws, serving
from worker.aws.heads import Heads
from worker.aws.objects import Objects
from worker.aws.requests import Requests
from worker.aws.session import Clients, Credentials, bucket_requests, open_clients
from worker.config import Lane
from worker.errors import AwsError, Verdict
from worker.model import Object

GIVEN = Credentials("AKIDEXAMPLE", SECRET)
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/q"
KEYS = (
    *(
        "a.mp4",
        "a b+c&d=e;f?g#h%20i.mp4",
        "~-_.!*'()@:$,[].mp4",
        'Überwachung "2" <🎬>\\|^`{}.mp4',
        "\x01\x7f\u2028.mp4",
    ),
    *("/a", "a//b", "a/", "../a", "./a/../b", ".", "..", "a/..", "?", "#", "%", "versionId=x?y", "é" * 512),
)
VERSIONS = (None, "null", "L4kqtJlcpXroDTDmpUMLUo", "a/b+c=d&e f~é")
SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/")


class BucketsAws(SmallAws):
    """Keeps what it was asked; requests that are signed for another region than the bucket's get `elsewhere`."""

    def __init__(self) -> None:
        super().__init__()
        self.regions["with.dots"] = self.regions["archive"]
        self.elsewhere = 301
        self.refusing = 0
        self.asked: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        self.asked.append(request)
        bucket = request.path.removeprefix("/").partition("/")[0]
        signed_for, service = SCOPE.findall(request.headers["Authorization"])[0]
        if service == "s3" and signed_for != self.regions[bucket]:
            return web.Response(status=self.elsewhere, headers={"x-amz-bucket-region": self.regions[bucket]})
        return web.Response(status=self.refusing) if self.refusing else await super().answer(request)


@pytest.fixture
async def aws() -> AsyncIterator[BucketsAws]:
    async with serving(BucketsAws()) as aws:
        yield aws


@pytest.fixture
async def clients(aws: BucketsAws) -> AsyncIterator[Clients]:
    async with open_clients(Lane(**aws.lane()), GIVEN) as clients:
        aws.asked.clear()
        yield clients


@pytest.mark.parametrize("key", KEYS)
async def test_request_is_that_of_the_sdk(aws: BucketsAws, clients: Clients, key: str):
    """The same line and headers, whatever the key, the version and the bucket; and signed as they arrive."""
    for bucket in ("archive", "with.dots"):
        for version_id in VERSIONS:
            aws.asked.clear()
            version = {} if version_id is None else {"VersionId": version_id}
            await clients.s3.client.head_object(Bucket=bucket, Key=key, **version)
            await Objects(clients.s3).head(Object(bucket, key, version_id))
            by_sdk, by_worker = aws.asked
            assert (by_worker.method, by_worker.raw_path) == (by_sdk.method, by_sdk.raw_path)
            assert head(by_worker) == head(by_sdk)
            assert is_signed_as_by_botocore(by_worker, b"", SECRET)


class Sent(Struct, frozen=True):
    """Where a request goes to, and for whom it is signed."""

    url: str
    scope: tuple[str, str]


class NoConnections:
    """Notes what would be sent, and says that all is well."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    async def send(self, request: Any, **_: Any) -> AioAWSResponse:
        """As connections send; also a handler of the SDK's event `before-send`."""
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        self.sent.append(Sent(request.url, SCOPE.findall(headers["authorization"])[0]))
        return AioAWSResponse(request.url, 200, {}, self)

    async def read(self) -> bytes:
        """Read the body of an answer."""
        return b""


async def assert_same_place(client: Any, buckets: list[str]) -> None:
    """HEADs of objects in these buckets would go where the SDK would send them, and be signed for the same region."""
    network = NoConnections()
    client.meta.events.register("before-send.s3", network.send)
    heads = Heads(Requests(client, AioCredentials("AKIDEXAMPLE", SECRET), network))  # type: ignore[arg-type]
    for bucket in buckets:
        network.sent.clear()
        await client.head_object(Bucket=bucket, Key="a b/c.mp4", VersionId="v 1")
        await heads.send(bucket, "a b/c.mp4", "v 1")
        by_sdk, by_worker = network.sent
        assert by_worker == by_sdk


async def client_in(region: str, stack: AsyncExitStack) -> Any:
    """The SDK's client of a lane on AWS itself."""
    return (await bucket_requests(Lane(region=region, queue_url=QUEUE_URL), GIVEN, stack)).client


@pytest.mark.parametrize("variant", ["", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "us-gov-west-1"])
async def test_place_is_that_of_the_sdk(monkeypatch: pytest.MonkeyPatch, region: str, variant: str):
    """At AWS the bucket is in the host, or in the path if its name could be in none; the region is the lane's."""
    if variant:
        monkeypatch.setenv(variant, "true")
    async with AsyncExitStack() as stack:
        buckets = ["archive", "with.dots", "UPPER_case", "ends-in-s3", "xn--odd"]
        await assert_same_place(await client_in(region, stack), buckets)


@pytest.mark.parametrize("option", ["addressing_style = path", "use_accelerate_endpoint = true"])
async def test_place_is_that_of_the_sdk_with_an_aws_config_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str
):
    """What the operator's file says of S3 counts for HEAD as it does for the SDK's own calls."""
    (tmp_path / "config").write_text(f"[default]\ns3 =\n  {option}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    async with AsyncExitStack() as stack:
        await assert_same_place(await client_in("us-east-1", stack), ["archive"])


async def test_client_that_is_told_how_to_sign_is_no_hindrance():
    """What counts is how the bucket's requests may be signed."""
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": SECRET}
    config = AioConfig(signature_version="s3v4")
    async with aioboto3.Session(**keys).client("s3", region_name="eu-west-1", config=config) as client:
        await assert_same_place(client, ["archive"])


@pytest.mark.parametrize("status", [301, 307, 400])
async def test_bucket_is_followed_to_its_region(aws: BucketsAws, clients: Clients, status: int):
    """S3 tells where it is to a HEAD of the bucket; from then on it is looked for there at once, until it has moved."""
    objects = Objects(clients.s3)
    aws.elsewhere = status
    for region in ("us-east-1", "eu-west-1", "eu-central-1"):
        aws.regions["archive"] = region
        assert (await objects.head(Object("archive", "a.mp4"))).size_bytes == 1000
        aws.asked.clear()
        assert (await objects.head(Object("archive", "a.mp4"))).size_bytes == 1000
        assert [SCOPE.findall(request.headers["Authorization"])[0][0] for request in aws.asked] == [region]


async def test_bad_request_in_the_right_region_is_the_last_word(aws: BucketsAws, clients: Clients):
    """HEAD answers 400 also for other reasons: then the bucket is looked for once, and the answer stands."""
    aws.refusing = 400
    with pytest.raises(AwsError) as caught:
        await Objects(clients.s3).head(Object("archive", "a.mp4"))
    assert (caught.value.code, caught.value.verdict) == ("400", Verdict.STOP_LANE)
    assert [request.path for request in aws.asked] == ["/archive/a.mp4", "/archive"]


@pytest.mark.parametrize("status", [304, 400, 403, 404, 405, 412, 429, 500, 503])
async def test_refusal_is_read_as_by_the_sdk(aws: BucketsAws, clients: Clients, status: int):
    """It has no body: the status is the code."""
    aws.refusing = status
    with pytest.raises(ClientError) as by_sdk:
        await clients.s3.client.head_object(Bucket="archive", Key="a.mp4")
    with pytest.raises(ClientError) as by_worker:
        await Heads(clients.s3).send("archive", "a.mp4", None)
    assert by_worker.value.response["Error"] == by_sdk.value.response["Error"]


async def test_bucket_whose_requests_are_signed_otherwise_is_refused(aws: BucketsAws, clients: Clients):
    """Nothing is sent to a directory bucket, which wants a session of its own."""
    with pytest.raises(AwsError, match="archive--use1-az4--x-s3") as caught:
        await Objects(clients.s3).head(Object("archive--use1-az4--x-s3", "a.mp4"))
    assert caught.value.verdict is Verdict.JOB_FAILED
    assert aws.asked == []

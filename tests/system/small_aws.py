"""The smallest AWS that a lane can be opened on: it tells regions, lists objects, and denies what it shall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from aiohttp import web

from worker.aws.session import Clients, Credentials, open_clients
from worker.config import Lane

ACCOUNT = "123456789012"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
S3 = "http://s3.amazonaws.com/doc/2006-03-01/"
STS = "https://sts.amazonaws.com/doc/2011-06-15/"


A = TypeVar("A", bound="SmallAws")


class SmallAws:
    """What it holds, denies and never answers may be changed while it runs."""

    def __init__(self) -> None:
        self.url = ""
        self.regions: dict[str, str] = {"archive": REGION}
        self.keys = ["a.mp4", "b.mp4", "c.mp4"]
        self.encoding = ""  # of keys in listings, as XML
        self.denied: set[str] = set()
        self.hung: set[str] = set()
        self.calls: list[str] = []
        self.quotas: dict[str, float] = {}  # those that were raised, by code; all others are 7
        self.messages: list[int] = []  # how many each of the next polls of a queue brings; all others bring none

    def lane(self, region: str = REGION, name: str = "main", **changes: Any) -> dict[str, Any]:
        """A section of the config file for a lane on it."""
        return {
            "region": region,
            "queue_url": f"{self.url}/{ACCOUNT}/{name}",
            "sns_topic_arn": f"arn:aws:sns:{region}:{ACCOUNT}:AmazonRekognition-{name}",
            "publish_role_arn": f"arn:aws:iam::{ACCOUNT}:role/publish",
            "endpoint_url": self.url,
            "start_per_second": 100.0,
            **changes,
        }

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        if target := request.headers.get("X-Amz-Target"):
            return await self._json(target.rpartition(".")[2], request)
        if request.method == "POST":
            return self._identity()
        bucket, _, key = request.path.removeprefix("/").partition("/")
        return self._bucket(bucket, request) if not key else self._object()

    async def _json(self, operation: str, request: web.Request) -> web.Response:
        self.calls.append(operation)
        if operation in self.denied:
            refusal = {"__type": "AccessDeniedException", "message": f"not authorized to perform {operation}"}
            return web.json_response(refusal, status=400, content_type="application/x-amz-json-1.1")
        if operation in self.hung:
            await asyncio.sleep(3600)
        if operation == "ReceiveMessage":
            return await self._messages()
        if operation.endswith("ServiceQuota"):
            return self._quota(operation, (await request.json())["QuotaCode"])
        answer = {"JobId": f"job-{len(self.calls)}"} if operation == "StartContentModeration" else {}
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    async def _messages(self) -> web.Response:
        if not self.messages:
            await asyncio.sleep(0.2)
        messages = [{"MessageId": f"{n}", "ReceiptHandle": f"{n}", "Body": "{}"} for n in range(sum(self.messages[:1]))]
        del self.messages[:1]
        return web.json_response({"Messages": messages}, content_type="application/x-amz-json-1.1")

    def _quota(self, operation: str, code: str) -> web.Response:
        value = self.quotas.get(code) if operation == "GetServiceQuota" else 7.0
        error = {"__type": "NoSuchResourceException", "message": f"no quota {code} was applied"}
        answer, status = (error, 400) if value is None else ({"Quota": {"QuotaCode": code, "Value": value}}, 200)
        return web.json_response(answer, status=status, content_type="application/x-amz-json-1.1")

    def _identity(self) -> web.Response:
        self.calls.append("GetCallerIdentity")
        if "GetCallerIdentity" in self.denied:
            error = "<Error><Code>InvalidClientTokenId</Code><Message>The security token is invalid</Message></Error>"
            return _xml(f'<ErrorResponse xmlns="{STS}">{error}</ErrorResponse>', status=403)
        result = f"<GetCallerIdentityResult><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        return _xml(f'<GetCallerIdentityResponse xmlns="{STS}">{result}</GetCallerIdentityResponse>')

    def _bucket(self, bucket: str, request: web.Request) -> web.Response:
        if bucket not in self.regions:
            return web.Response(status=404)
        if request.method == "HEAD":
            return web.Response(headers={"x-amz-bucket-region": self.regions[bucket]})
        if "ListObjectsV2" in self.denied:
            return _xml("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", status=403)
        keys = [key for key in self.keys if key.startswith(request.query.get("prefix", ""))]
        contents = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1000</Size></Contents>" for key in keys)
        listing = f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{self.encoding}{contents}"
        return _xml(f'<ListBucketResult xmlns="{S3}">{listing}</ListBucketResult>')

    def _object(self) -> web.Response:
        self.calls.append("HeadObject")
        if "HeadObject" in self.denied:
            return web.Response(status=403)
        return web.Response(headers={"ETag": '"0123"', "Content-Length": "1000"})


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="application/xml", status=status)


@asynccontextmanager
async def small_aws() -> AsyncIterator[SmallAws]:
    """Run one on a free port."""
    async with serving(SmallAws()) as aws:
        yield aws


@asynccontextmanager
async def serving(aws: A) -> AsyncIterator[A]:
    """Run that one on a free port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", aws.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        aws.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield aws
    finally:
        await runner.cleanup()


@asynccontextmanager
async def clients_of_small_aws() -> AsyncIterator[Clients]:
    """The clients of a lane in an account of its own."""
    async with small_aws() as aws, clients_of(aws) as clients:
        yield clients


@asynccontextmanager
async def clients_of(aws: SmallAws) -> AsyncIterator[Clients]:
    """The clients of a lane in that account."""
    async with open_clients(Lane(**aws.lane()), Credentials("AKIDEXAMPLE", "secret")) as clients:
        yield clients

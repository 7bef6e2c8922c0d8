"""Stands before moto and the local service as AWS would: one address for all services, and what it shall refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from msgspec import Struct
from yarl import URL

from tests.system.small_aws import serving

GRANTED = {"L-E082B236": 5.0, "L-A33540CC": 20.0, "L-A6079699": 20.0}  # of Service Quotas, which moto has not
NOT_PASSED_ON = {"host", "content-length", "transfer-encoding", "connection", "date", "content-encoding"}


class Refusal(Struct, frozen=True):
    """An error of AWS; `about` is what a request must hold to be refused."""

    code: str = "AccessDenied"
    message: str = "User is not authorized to perform this operation"
    status: int = 403
    about: str = ""


class Front:
    """What it refuses, how wrong its clock is and what it grants may be changed while it runs."""

    def __init__(self, moto_url: str, rekognition_url: str, client: aiohttp.ClientSession) -> None:
        self.url = ""
        self._moto_url = moto_url
        self._rekognition_url = rekognition_url
        self._client = client
        self.be_well()

    def be_well(self) -> None:
        """Refuse nothing any more."""
        self.refusals: dict[str, Refusal] = {}  # by operation
        self.ahead_seconds = 0.0
        self.granted = dict(GRANTED)
        self.calls: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Refuse a call, or pass it on."""
        body = await request.read()
        operation = _operation_of(request, body)
        self.calls.append(operation)
        refusal = self.refusals.get(operation)
        if refusal and refusal.about.encode() in body:
            response = _refused(request, refusal)
        elif operation == "GetServiceQuota":
            response = self._quota((await request.json())["QuotaCode"])
        else:
            response = await self._passed_on(request, body)
        response.headers["Date"] = format_datetime(
            datetime.now(UTC) + timedelta(seconds=self.ahead_seconds), usegmt=True
        )
        return response

    def _quota(self, code: str) -> web.Response:
        answer = {"Quota": {"QuotaCode": code, "Value": self.granted[code]}}
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    async def _passed_on(self, request: web.Request, body: bytes) -> web.Response:
        is_moderation = request.headers.get("X-Amz-Target", "").startswith("RekognitionService.")
        url = URL((self._rekognition_url if is_moderation else self._moto_url) + request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED_ON}
        async with self._client.request(request.method, url, headers=headers, data=body or None) as told:
            kept = {n: v for n, v in told.headers.items() if n.lower() not in NOT_PASSED_ON}
            if request.method == "HEAD":
                kept["Content-Length"] = told.headers.get("Content-Length", "0")
            return web.Response(status=told.status, headers=kept, body=await told.read())


def _operation_of(request: web.Request, body: bytes) -> str:
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    if request.method == "POST":
        return parse_qs(body.decode())["Action"][0]
    if request.method == "GET" and "list-type" in request.query:
        return "ListObjectsV2"
    has_key = "/" in request.path.strip("/")
    if "versionId" in request.query:
        return "HeadVersion"
    return f"{request.method.title()}{'Object' if has_key else 'Bucket'}"


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    """In the protocol of the call; HEAD has no body."""
    if "X-Amz-Target" in request.headers:
        error = {"__type": refusal.code, "message": refusal.message}
        return web.json_response(error, status=refusal.status, content_type="application/x-amz-json-1.1")
    error = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
    text = f"<ErrorResponse>{error}</ErrorResponse>" if request.method == "POST" else error
    return web.Response(
        text="" if request.method == "HEAD" else text, status=refusal.status, content_type="application/xml"
    )


@asynccontextmanager
async def front_of(moto_url: str, rekognition_url: str) -> AsyncIterator[Front]:
    """Run one on a free port."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        serving(Front(moto_url, rekognition_url, client)) as front,
    ):
        yield front

"""Stands between a worker and Rekognition, and spoils answers: the pages of chosen videos, and some Starts' first."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.system.hostile_inputs import ENDLESS, TOO_LARGE, Tree, endless_page, hostile_page, too_large_page
from worker.aws.rekognition import GET, START

SPOILT_STARTS = 0.2  # of all tokens, at their first Start
NO_JOB_IDS = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b"<html>",
    b'{"JobId": ""}',
    b'{"JobId": 7}',
    b'{"JobId": ["a"]}',
    b'{"JobId": {"a": 1}}',
    b'{"JobId": "a\\u0000"}',
    b'{"JobId": "\\ud800"}',
    b'{"JobId": "a b"}',
    b'{"JobId": "%b"}' % (b"x" * 65),
    b"[" * 100_000,
    b'{"JobId": "%b"}' % (b"x" * 10_000_000),
)
PASSED_ON = ("X-Amz-Target", "Content-Type", "Authorization", "X-Amz-Date")


class Front:
    """`plan` names the keys whose pages are spoilt, and how; `met` counts what was served of each kind."""

    def __init__(self, service_url: str, seed: int, plan: Mapping[str, str], client: aiohttp.ClientSession) -> None:
        self.url = ""
        self.met: Counter[str] = Counter()
        self._service_url = service_url
        self._seed = seed
        self._plan = plan
        self._client = client
        self._tokens: set[str] = set()
        self._endless: dict[str, Tree] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a call on, and its answer back, spoilt or not."""
        asked = await request.read()
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            async with self._client.post(self._service_url + request.path_qs, data=asked, headers=headers) as response:
                told = await response.read()
        except aiohttp.ClientError:  # a fault of the service: the worker shall meet it too
            if request.transport:
                request.transport.abort()
            return web.Response()
        spoilt = self._spoilt(request.headers.get("X-Amz-Target", "").rpartition(".")[2], asked, response.status, told)
        status = response.status if spoilt is None else 200
        return web.Response(
            body=told if spoilt is None else spoilt, status=status, content_type="application/x-amz-json-1.1"
        )

    def _spoilt(self, operation: str, asked: bytes, status: int, told: bytes) -> bytes | None:
        """What is answered instead, None for the truth."""
        request = json.loads(asked)
        if operation == START and status == 200:
            return self._spoilt_start(request["ClientRequestToken"])
        if operation == GET and request["JobId"] in self._endless:
            return endless_page(self._endless[request["JobId"]])
        if operation == GET and status == 200:
            try:
                return self._spoilt_page(request["JobId"], json.loads(told))
            except ValueError:
                return None  # spoilt by the service already
        return None

    def _spoilt_start(self, token: str) -> bytes | None:
        rng = random.Random(f"{self._seed} {token}")
        if token in self._tokens or rng.random() > SPOILT_STARTS:
            return None
        self._tokens.add(token)
        self.met["start"] += 1
        return rng.choice(NO_JOB_IDS)

    def _spoilt_page(self, job_id: str, told: dict[str, Any]) -> bytes | None:
        if told["JobStatus"] != "SUCCEEDED":
            return None
        key = told["Video"]["S3Object"]["Name"]
        kind = self._plan.get(key)
        rng = random.Random(f"{self._seed} {key}")
        if kind is None or (rng.random() < 0.5 and told.get("NextToken")):  # half of them on their last page only
            return None
        self.met[kind] += 1
        if kind == ENDLESS:
            self._endless[job_id] = told
            return endless_page(told)
        return too_large_page(told) if kind == TOO_LARGE else hostile_page(rng, told, kind).content


@asynccontextmanager
async def hostile_front(service_url: str, seed: int, plan: Mapping[str, str]) -> AsyncIterator[Front]:
    """Run one on a free port."""
    async with aiohttp.ClientSession() as client:
        front = Front(service_url, seed, plan, client)
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", front.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield front
        finally:
            await runner.cleanup()

"""What is posted without the SDK's pipeline reaches the same place, and is refused in the same words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from tests.system.small_aws import SmallAws, serving
from worker.aws.session import Clients, Credentials, open_clients
from worker.config import Lane

OPERATION = "GetContentModeration"
REQUEST = {"JobId": "a" * 64}
ALIKE = ("User-Agent", "Content-Type", "X-Amz-Target", "Accept-Encoding", "Host")


class NotingAws(SmallAws):
    """Keeps the heads and paths of what Rekognition was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        if "X-Amz-Target" in request.headers:
            self.asked.append(request)
        return await super().answer(request)


@pytest.fixture
async def aws() -> AsyncIterator[NotingAws]:
    async with serving(NotingAws()) as aws:
        yield aws


@pytest.fixture
async def clients(aws: NotingAws) -> AsyncIterator[Clients]:
    lane = Lane(**aws.lane(endpoints={"rekognition": f"{aws.url}/behind/a/proxy"}))
    async with open_clients(lane, Credentials("AKIDEXAMPLE", "secret")) as clients:
        yield clients


async def refusal_by_sdk(clients: Clients) -> ClientError:
    with pytest.raises(ClientError) as refused:
        await clients.rekognition.get_content_moderation(**REQUEST)
    return refused.value


async def refusal_by_post(clients: Clients) -> ClientError:
    with pytest.raises(ClientError) as refused:
        await clients.posts.send(OPERATION, b'{"JobId": "%b"}' % (b"a" * 64))
    return refused.value


async def test_request_and_refusal_are_those_of_the_sdk(aws: NotingAws, clients: Clients):
    """The same place, names and formats; the same code, words and status."""
    aws.denied.add(OPERATION)
    by_sdk, by_post = await refusal_by_sdk(clients), await refusal_by_post(clients)
    asked_by_sdk, asked_by_post = aws.asked
    assert asked_by_post.path == asked_by_sdk.path == "/behind/a/proxy"
    for name in ALIKE:
        assert asked_by_post.headers[name].split(" m/")[0] == asked_by_sdk.headers[name].split(" m/")[0]
    assert by_post.response["Error"] == by_sdk.response["Error"]
    assert by_post.response["ResponseMetadata"]["HTTPStatusCode"] == 400


async def test_refusal_is_told_to_whoever_listens_to_the_client(aws: NotingAws, clients: Clients):
    """Credentials are read anew after it: they listen to `after-call`."""
    heard: list[Any] = []
    clients.rekognition.meta.events.register("after-call.rekognition", lambda parsed, **_: heard.append(parsed))
    aws.denied.add(OPERATION)
    assert (await refusal_by_post(clients)).response["Error"] == heard[0]["Error"]

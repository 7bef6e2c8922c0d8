"""What is posted without the SDK's pipeline reaches the same place, and is refused in the same words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from tests.aws.signed import is_signed_as_by_botocore
from tests.system.small_aws import SmallAws, serving
from worker.aws.notices import DELETE, LEAVE, RECEIVE, Queue
from worker.aws.posts import Posts
from worker.aws.rekognition import GET, START, Rekognition
from worker.aws.session import Clients, Credentials, open_clients
from worker.config import Lane
from worker.errors import AwsError
from worker.model import Channel, Job, ReadyJob

CHANNEL = Channel(1, "arn:aws:sns:us-east-1:1:t", "arn:aws:iam::1:role/r")
KEY = 'Überwachung "2"\\\u2028\x01\x7f 🎬.mp4'
JOB = Job(1, "mw1.0", "0" * 64, "archive", KEY, "v/1+2=", 62.5, CHANNEL, 0.0, is_replay=False)
READY = ReadyJob(1, "a" * 64, "mw1.0", "archive", KEY, None, "e1", "SEGMENTS", 1, None, b"", 0, 0, 1.0)
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/moderation"
RECEIPT = "AQEB+/=é"
SECRET = "secret"
OF_ONE_CALL = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request", "content-length"}


class NotingAws(SmallAws):
    """Keeps what it was posted; its refusals have a second code, from the time before SQS spoke JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[web.Request, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        if "X-Amz-Target" in request.headers:
            self.asked.append((request, await request.read()))
        answer = await super().answer(request)
        if answer.status >= 400:
            answer.headers["x-amzn-query-error"] = "AWS.SimpleQueueService.NonExistentQueue;Sender"
        return answer


@pytest.fixture
async def aws() -> AsyncIterator[NotingAws]:
    async with serving(NotingAws()) as aws:
        yield aws


@pytest.fixture
async def clients(aws: NotingAws) -> AsyncIterator[Clients]:
    lane = Lane(**aws.lane(endpoints=dict.fromkeys(("rekognition", "sqs"), f"{aws.url}/behind/a%20proxy")))
    async with open_clients(lane, Credentials("AKIDEXAMPLE", SECRET)) as clients:
        yield clients


def start_by_sdk(clients: Clients) -> Awaitable[Any]:
    call: Awaitable[Any] = clients.rekognition.client.start_content_moderation(
        Video={"S3Object": {"Bucket": "archive", "Name": KEY, "Version": "v/1+2="}},
        MinConfidence=62.5,
        ClientRequestToken="0" * 64,
        NotificationChannel={"SNSTopicArn": CHANNEL.topic_arn, "RoleArn": CHANNEL.role_arn},
        JobTag="mw1.0",
    )
    return call


def receive_by_sdk(clients: Clients) -> Awaitable[Any]:
    call: Awaitable[Any] = clients.sqs.client.receive_message(
        QueueUrl=QUEUE_URL,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=20,
        VisibilityTimeout=30,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    return call


def delete_by_sdk(clients: Clients) -> Awaitable[Any]:
    entries = [{"Id": "0", "ReceiptHandle": RECEIPT}]
    call: Awaitable[Any] = clients.sqs.client.delete_message_batch(QueueUrl=QUEUE_URL, Entries=entries)
    return call


def leave_by_sdk(clients: Clients) -> Awaitable[Any]:
    entries = [{"Id": "0", "ReceiptHandle": RECEIPT, "VisibilityTimeout": 7}]
    call: Awaitable[Any] = clients.sqs.client.change_message_visibility_batch(QueueUrl=QUEUE_URL, Entries=entries)
    return call


def get_by_sdk(clients: Clients) -> Awaitable[Any]:
    call: Awaitable[Any] = clients.rekognition.client.get_content_moderation(
        JobId="a" * 64, MaxResults=1000, SortBy="TIMESTAMP", AggregateBy="SEGMENTS", NextToken="n"
    )
    return call


Call = Callable[[Clients], Awaitable[Any]]
CALLS: dict[str, tuple[Call, Call]] = {
    START: (start_by_sdk, lambda clients: Rekognition(clients.rekognition).start(JOB)),
    GET: (get_by_sdk, lambda clients: Rekognition(clients.rekognition).get(READY, "n")),
    RECEIVE: (receive_by_sdk, lambda clients: Queue(clients.sqs, QUEUE_URL).receive()),
    DELETE: (delete_by_sdk, lambda clients: Queue(clients.sqs, QUEUE_URL).delete([RECEIPT])),
    LEAVE: (leave_by_sdk, lambda clients: Queue(clients.sqs, QUEUE_URL).leave([RECEIPT], 7)),
}
"""Operation -> the call as the SDK makes it, and as the worker does."""


def head(request: web.Request) -> dict[str, str]:
    """The headers that do not differ from call to call."""
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in OF_ONE_CALL}
    return headers | {"user-agent": headers["user-agent"].split(" m/")[0]}


@pytest.mark.parametrize("operation", CALLS)
async def test_request_and_refusal_are_those_of_the_sdk(aws: NotingAws, clients: Clients, operation: str):
    """The same place, headers and members; the same code, words and status."""
    by_sdk, by_worker = CALLS[operation]
    aws.denied.add(operation)
    with pytest.raises(ClientError) as refused:
        await by_sdk(clients)
    with pytest.raises(AwsError) as denied:
        await by_worker(clients)
    (asked_by_sdk, said_by_sdk), (asked_by_worker, said_by_worker) = aws.asked
    assert asked_by_worker.raw_path == asked_by_sdk.raw_path
    assert head(asked_by_worker) == head(asked_by_sdk)
    assert json.loads(said_by_worker) == json.loads(said_by_sdk)
    assert is_signed_as_by_botocore(asked_by_worker, said_by_worker, SECRET)
    error = refused.value.response["Error"]
    assert (denied.value.code, denied.value.message) == (error["Code"], error["Message"])


async def test_refusal_is_told_to_whoever_listens_to_the_client(aws: NotingAws, clients: Clients):
    """Credentials are read anew after it: they listen to `after-call`."""
    heard: list[Any] = []
    requests = clients.rekognition
    requests.client.meta.events.register("after-call.rekognition", lambda parsed, **_: heard.append(parsed))
    aws.denied.add(GET)
    with pytest.raises(ClientError) as refused:
        await Posts(requests).send(GET, json.dumps({"JobId": "a"}).encode())
    assert refused.value.response == heard[0]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400

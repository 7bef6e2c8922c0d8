"""A role with the files of deploy/aws works, and without one of their statements is denied: moto's server judges.

moto checks signatures, external ids, and the actions and resources of identity policies. It knows no conditions of
these and no policies of queues and topics, takes a version of an object for the object, and has neither
StartContentModeration nor GetContentModeration: those are left to the lint (test_aws_policies.py).
"""

from __future__ import annotations

import copy
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from msgspec import Struct

from tests.deploy.test_aws_policies import (
    ACCOUNT,
    BUCKET,
    INVENTORY_BUCKET,
    NEEDED,
    POLICIES,
    REGION,
    calls,
    listed,
)
from tests.system.test_moto import client, make_bucket, moto_url
from worker.aws.notices import Queue
from worker.aws.objects import Objects
from worker.aws.requests import Requests
from worker.aws.session import Clients, open_clients
from worker.config import Lane
from worker.errors import AwsError, Verdict
from worker.model import Object

__all__ = ["moto_url"]

Document = dict[str, Any]

HOST, ROLE = "modworker-host", "moderation"
EXTERNAL_ID = "replace-with-a-random-text"
KEY = "2024/a.mp4"
OTHER_BUCKET = "their-archive"
HANDLE = "no-such-receipt"
WORKING, LISTING, INVENTORY = (POLICIES[f"worker-policy{part}.json"] for part in ("", "-listing", "-inventory"))


class Place(Struct, frozen=True):
    """What a call is made at: the operator's own, or somebody else's."""

    bucket: str
    queue_url: str
    inventory_bucket: str


async def listing(clients: Clients, place: Place) -> None:
    """As `enqueue` looks at a prefix."""
    objects = Objects(clients.s3)
    await objects.region_of(place.bucket)
    assert [found.key for found in (await objects.page(place.bucket, "2024/", None)).objects] == [KEY]


async def reading(clients: Clients, place: Place) -> None:
    """As `enqueue` reads an inventory."""
    objects = Objects(clients.s3)
    assert [block async for block in objects.content(place.inventory_bucket, KEY)] == [b"x"]
    await objects.head(Object(place.inventory_bucket, KEY))


CALLS: dict[str, Callable[[Clients, Place], Awaitable[Any]]] = {
    "LookAtVideos": lambda clients, place: Objects(clients.s3).head(Object(place.bucket, KEY)),
    "ListVideos": listing,
    "ReadInventories": reading,
    "HearOfFinishedJobs": lambda clients, place: Queue(clients.sqs, place.queue_url).receive(),
    "to delete": lambda clients, place: Queue(clients.sqs, place.queue_url).delete([HANDLE]),
    "to leave": lambda clients, place: Queue(clients.sqs, place.queue_url).leave([HANDLE], 5),
}
"""Sid of the statement that allows it -> a call of the worker; the queue's statement allows three."""

BY_STATEMENT = {
    "LookAtVideos": {"LookAtVideos"},
    "ListVideos": {"ListVideos"},
    "ReadInventories": {"ReadInventories"},
    "HearOfFinishedJobs": {"HearOfFinishedJobs", "to delete", "to leave"},
}


class Account:
    """moto's account, in which the operator has made what README.md says, and somebody else the same."""

    def __init__(self, url: str) -> None:
        reset(url)
        self.url = url
        self._iam = client("iam", url)
        sqs = client("sqs", url)
        queues = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("moderation", "theirs")]
        for bucket in (BUCKET, INVENTORY_BUCKET, OTHER_BUCKET):
            make_bucket(url, bucket, [KEY])
        self.own = Place(BUCKET, queues[0], INVENTORY_BUCKET)
        self.theirs = Place(OTHER_BUCKET, queues[1], OTHER_BUCKET)
        self._iam.create_user(UserName=HOST)
        key = self._iam.create_access_key(UserName=HOST)["AccessKey"]
        self.environment = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        # The host is a user here: moto takes nobody in who has taken a role already.
        trust = json.dumps(POLICIES["worker-role-trust.json"]).replace(f"role/{HOST}", f"user/{HOST}")
        self._iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)
        host = json.dumps(POLICIES["host-policy.json"])
        self._iam.put_user_policy(UserName=HOST, PolicyName="host", PolicyDocument=host)

    def lane(self, **changes: str) -> Lane:
        """A lane in the worker's role."""
        names = {"role_arn": f"arn:aws:iam::{ACCOUNT}:role/{ROLE}", "external_id": EXTERNAL_ID, **changes}
        return Lane(region=REGION, queue_url=self.own.queue_url, endpoint_url=self.url, **names)

    def grant(self, *policies: Document) -> None:
        """Give the worker's role these policies and no other, and let messages wait, so that nobody waits for one."""
        for name in self._iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
            self._iam.delete_role_policy(RoleName=ROLE, PolicyName=name)
        for number, policy in enumerate(policy for policy in policies if policy["Statement"]):
            document = json.dumps(as_moto_says(policy))
            self._iam.put_role_policy(RoleName=ROLE, PolicyName=f"p{number}", PolicyDocument=document)
        for place in (self.own, self.theirs):
            client("sqs", self.url).send_message(QueueUrl=place.queue_url, MessageBody="{}")

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """From here on moto asks for permissions."""
        before = self._let_pass("0")
        try:
            yield
        finally:
            self._let_pass(before)

    @asynccontextmanager
    async def worker(self, **changes: str) -> AsyncIterator[Clients]:
        """The worker's clients, while permissions are asked for."""
        with self.enforced():
            async with open_clients(self.lane(**changes)) as clients:
                yield clients

    def _let_pass(self, calls: str) -> str:
        return str(told(f"{self.url}/moto-api/reset-auth", calls)["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])


def reset(url: str) -> None:
    """Forget everything: what a moto of this process holds outlives its server."""
    told(f"{url}/moto-api/reset", "")


def told(url: str, text: str) -> Document:
    """What moto's own interface answers."""
    request = urllib.request.Request(url, text.encode(), {"Content-Type": "text/plain"})  # a form would be taken apart
    with urllib.request.urlopen(request) as response:
        answer: Document = json.load(response)
    return answer


def as_moto_says(policy: Document) -> Document:
    """The policy with the operations beside the actions that allow them: moto asks for operations by their names."""
    said = copy.deepcopy(policy)
    for statement in said["Statement"]:
        actions = set(listed(statement["Action"]))
        statement["Action"] = sorted(actions | {op for op, needed in NEEDED.items() if needed & actions})
    return said


def without(policy: Document, sid: str) -> Document:
    """The policy less one statement."""
    return {**policy, "Statement": [s for s in policy["Statement"] if s["Sid"] != sid]}


@pytest.fixture(scope="module")
def account(moto_url: str) -> Account:
    """The account of all tests here."""
    return Account(moto_url)


@pytest.fixture(autouse=True)
def host(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the credentials of the host, which may no more than become the worker."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)


async def denied(clients: Clients, place: Place) -> set[str]:
    """Which calls the account refuses."""
    refused = set()
    for name, call in CALLS.items():
        try:
            await call(clients, place)
        except AwsError as error:
            if error.verdict is not Verdict.STOP_LANE:
                raise
            refused.add(name)
    return refused


async def test_the_files_suffice_for_every_call(account: Account, monkeypatch: pytest.MonkeyPatch):
    """The host becomes the worker, and the worker makes its calls of S3 and SQS; they are all that the code has."""
    seen: set[str] = set()
    send = Requests.send

    async def noted(requests: Requests, operation: str, *request: Any) -> Any:
        seen.add(f"{requests.client.meta.service_model.service_name}:{operation}")
        return await send(requests, operation, *request)

    monkeypatch.setattr(Requests, "send", noted)
    account.grant(WORKING, LISTING, INVENTORY)
    async with account.worker() as clients:
        clients.s3.client.meta.events.register("before-call.s3", lambda model, **_: seen.add(f"s3:{model.name}"))
        assert await denied(clients, account.own) == set()
        assert clients.account_id == ACCOUNT
    assert seen == {operation for operation in calls() if operation.startswith(("s3:", "sqs:"))}


@pytest.mark.parametrize("sid", BY_STATEMENT)
async def test_each_statement_is_needed(account: Account, sid: str):
    """Without it its calls are denied, and no others."""
    account.grant(*(without(policy, sid) for policy in (WORKING, LISTING, INVENTORY)))
    async with account.worker() as clients:
        assert await denied(clients, account.own) == BY_STATEMENT[sid]


async def test_nothing_is_allowed_elsewhere(account: Account):
    """Another bucket and another queue of the same account are denied."""
    account.grant(WORKING, LISTING, INVENTORY)
    async with account.worker() as clients:
        assert await denied(clients, account.theirs) == set(CALLS)


async def test_the_role_is_not_taken_with_another_external_id(account: Account):
    """Somebody who makes the host name another external id does not get the worker's role."""
    account.grant(WORKING)
    with pytest.raises(AwsError) as refused:
        async with account.worker(external_id="another"):
            pass
    assert refused.value.verdict is Verdict.STOP_LANE


async def test_the_host_has_no_permission_of_its_own(account: Account):
    """Who runs the worker may do nothing but take its role."""
    account.grant(WORKING, LISTING, INVENTORY)
    async with account.worker(role_arn="") as clients:
        assert await denied(clients, account.own) == set(CALLS)

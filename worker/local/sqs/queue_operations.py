"""SQS's operations on queues.

Reference: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from worker.local.protocol.identity import Caller
from worker.local.sqs import catalog, messages
from worker.local.sqs.channels import Channels
from worker.local.sqs.directory import Directory, Queue
from worker.local.sqs.queue_attributes import KNOWN, allows, normal, refused_policy, target_of
from worker.local.sqs.queue_names import QueueName, is_queue_name, name_of_key
from worker.local.sqs.queues import Queues
from worker.local.sqs.refusals import (
    bad_parameter,
    bad_value,
    deleted_recently,
    name_exists,
    purge_in_progress,
    unknown_attribute,
)
from worker.local.state.database import Database

_REST_SECONDS = 60  # between two purges, and before the name of a deleted queue is free
_LONGEST_LIST = 1_000

Request = dict[str, Any]
Lister = Callable[[str, int], list[str]]


class QueueOperations:
    """Answers requests that have been checked against their shapes."""

    def __init__(self, database: Database, queues: Queues, channels: Channels, directory: Directory) -> None:
        self._database = database
        self._clock = database.clock
        self._queues = queues
        self._channels = channels
        self._directory = directory

    async def create(self, caller: Caller, request: Request) -> bytes:
        """CreateQueue."""
        name = request["QueueName"]
        if name.endswith(".fifo"):
            raise bad_value("QueueName", name, "FIFO queues are not served here, standard queues are.")
        if not is_queue_name(name):
            raise bad_parameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
        attributes = normal(request.get("Attributes") or {})
        key = QueueName(caller.account, caller.region, name).key
        if await self._database.write(lambda connection: self._create(connection, key, attributes)):
            await self._queues.purge(key)  # of what an earlier queue of the name may have left
        return _url_answer(self._directory.url_of(key))

    async def delete(self, caller: Caller, request: Request) -> bytes:
        """DeleteQueue. A lane's queue loses its messages and attributes, and is there still."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        await self._database.write(lambda connection: self._delete(connection, queue))
        await self._queues.purge(queue.key)
        return b"{}"

    async def list_queues(self, caller: Caller, request: Request) -> bytes:
        """ListQueues."""
        prefix = request.get("QueueNamePrefix") or ""
        page = self._page(request, lambda after, most: self._directory.beginning_with(caller, prefix, after, most))
        return _list_answer("QueueUrls", page, needed=False)

    async def list_sources(self, caller: Caller, request: Request) -> bytes:
        """ListDeadLetterSourceQueues."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        page = self._page(request, lambda after, most: self._directory.sources(queue, after, most))
        return _list_answer("queueUrls", page, needed=True)

    async def url(self, caller: Caller, request: Request) -> bytes:
        """GetQueueUrl."""
        account = request.get("QueueOwnerAWSAccountId") or caller.account
        return _url_answer(self._directory.url_of(self._directory.named(caller, account, request["QueueName"]).key))

    async def attributes(self, caller: Caller, request: Request) -> bytes:
        """GetQueueAttributes."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        wanted = set(request.get("AttributeNames") or ())
        if unknown := wanted - KNOWN - {"All"}:
            raise unknown_attribute(min(unknown))
        await self._queues.forget_expired(queue.key, queue.number("MessageRetentionPeriod"))
        visible, in_flight, delayed = messages.counts(self._database.reader, queue.key, self._clock.now_ms())
        known = {
            "QueueArn": queue.arn,
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
            "CreatedTimestamp": str(queue.created_at_ms // 1000),
            "LastModifiedTimestamp": str(queue.modified_at_ms // 1000),
            **queue.attributes,
        }
        chosen = {name: value for name, value in known.items() if name in wanted or "All" in wanted}
        return msgspec.json.encode({"Attributes": chosen} if chosen else {})

    async def set_attributes(self, caller: Caller, request: Request) -> bytes:
        """SetQueueAttributes."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        attributes = normal(request["Attributes"])
        await self._database.write(lambda connection: self._change(connection, queue, attributes))
        return b"{}"

    async def purge(self, caller: Caller, request: Request) -> bytes:
        """PurgeQueue."""
        queue = self._directory.addressed(caller, request["QueueUrl"])
        await self._database.write(lambda connection: self._mark_purge(connection, queue))
        await self._queues.purge(queue.key)
        return b"{}"

    def _create(self, connection: sqlite3.Connection, key: str, attributes: dict[str, str]) -> bool:
        """Whether there was no such queue."""
        if (queue := self._directory.find(connection, key)) is not None:
            _check_same(queue, attributes)
            return False
        now_ms = self._clock.now_ms()
        former = catalog.find(connection, key)
        if former is not None and former.deleted_at_ms is not None and self._is_recent(former.deleted_at_ms):
            raise deleted_recently(_REST_SECONDS)
        self._save(connection, catalog.Row(key, {}, None, now_ms, now_ms), attributes)
        return True

    def _delete(self, connection: sqlite3.Connection, queue: Queue) -> None:
        if self._channels.has_queue(queue.key):
            catalog.remove(connection, queue.key)
        else:
            row = _row_of(connection, queue)
            deleted = msgspec.structs.replace(row, dead_letter_queue=None, deleted_at_ms=self._clock.now_ms())
            catalog.save(connection, deleted)

    def _change(self, connection: sqlite3.Connection, queue: Queue, attributes: dict[str, str]) -> None:
        row = msgspec.structs.replace(_row_of(connection, queue), modified_at_ms=self._clock.now_ms())
        self._save(connection, row, attributes)

    def _mark_purge(self, connection: sqlite3.Connection, queue: Queue) -> None:
        row = _row_of(connection, queue)
        if row.purged_at_ms is not None and self._is_recent(row.purged_at_ms):
            raise purge_in_progress(queue.name, _REST_SECONDS)
        catalog.save(connection, msgspec.structs.replace(row, purged_at_ms=self._clock.now_ms()))

    def _save(self, connection: sqlite3.Connection, row: catalog.Row, changes: dict[str, str]) -> None:
        """Keep the queue with some attributes changed, and its dead-letter queue as one that is there."""
        attributes = {name: value for name, value in (row.attributes | changes).items() if value != ""}
        policy = attributes.get("RedrivePolicy")
        target = None if policy is None else self._dead_letter_queue(connection, row, policy)
        if target is not None:
            catalog.save(connection, _row_of(connection, target))
        target_key = None if target is None else target.key
        catalog.save(connection, msgspec.structs.replace(row, attributes=attributes, dead_letter_queue=target_key))

    def _dead_letter_queue(self, connection: sqlite3.Connection, row: catalog.Row, policy: str) -> Queue:
        source, target = name_of_key(row.queue), target_of(policy).queue
        if target.account != source.account:
            raise refused_policy(policy, "Dead-letter target owner should be same as the source.")
        if target == source:
            raise refused_policy(policy, "A queue cannot be its own dead-letter queue.")
        queue = self._directory.find(connection, target.key)
        if queue is None or target.region != source.region:
            raise refused_policy(policy, "Dead letter target does not exist.")
        if not allows(queue.attributes.get("RedriveAllowPolicy"), source.arn):
            raise refused_policy(policy, "The dead-letter queue does not allow the queue to use it.")
        return queue

    def _page(self, request: Request, lister: Lister) -> tuple[list[str], str | None]:
        """URLs, and the token of the next page where there is one."""
        most = request.get("MaxResults")
        if most is not None and not 1 <= most <= _LONGEST_LIST:
            raise bad_value("MaxResults", most, f"Must be between 1 and {_LONGEST_LIST}.")
        found = lister(_after(request.get("NextToken")), (most or _LONGEST_LIST) + 1)
        page = found[: most or _LONGEST_LIST]
        is_cut = most is not None and len(found) > len(page)
        return [self._directory.url_of(key) for key in page], _token(page) if is_cut else None

    def _is_recent(self, moment_ms: int) -> bool:
        return self._clock.now_ms() - moment_ms < _REST_SECONDS * 1000


def _row_of(connection: sqlite3.Connection, queue: Queue) -> catalog.Row:
    """The queue's row; one that it would have, where a lane's queue has none yet."""
    row = catalog.find(connection, queue.key)
    if row is not None and row.deleted_at_ms is None:
        return row
    return catalog.Row(queue.key, {}, None, queue.created_at_ms, queue.modified_at_ms)


def _check_same(queue: Queue, attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        if queue.attributes.get(name, "") != value:
            raise name_exists(name)


def _after(token: str | None) -> str:
    try:
        return base64.b64decode(token or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise bad_value("NextToken", token, "It is no token of an earlier page.") from None


def _token(page: Sequence[str]) -> str:
    return base64.b64encode(page[-1].encode()).decode()


def _url_answer(url: str) -> bytes:
    return msgspec.json.encode({"QueueUrl": url})


def _list_answer(member: str, page: tuple[list[str], str | None], *, needed: bool) -> bytes:
    urls, token = page
    answer = {member: urls} if urls or needed else {}
    return msgspec.json.encode(answer if token is None else answer | {"NextToken": token})

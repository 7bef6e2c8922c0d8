"""Delivers filed notices when they are due: to the queues here, or to another SNS."""

from __future__ import annotations

import math
import sqlite3
from functools import partial
from typing import Protocol

import anyio
import msgspec
import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.local.moderation.envelope import envelope_of
from worker.local.protocol.identity import Caller
from worker.local.sqs import messages
from worker.local.sqs.channels import Channels
from worker.local.sqs.queues import Queues
from worker.local.state.database import Database
from worker.local.storage.remote import RemoteClients

log = structlog.get_logger()

_PAUSE_AFTER_FAILURE_SECONDS = 1.0
_LARGEST_GROUP = 100  # publications of one turn


class Publication(msgspec.Struct, frozen=True):
    """A filed notice."""

    number: int
    topic_arn: str
    body: str


class Outlet(Protocol):
    """Where publications go."""

    async def deliver(self, due: list[Publication]) -> None:
        """Deliver them in turn, each removed with its delivery or after it."""


class Publisher:
    """Takes publications from the database in the order in which they fall due."""

    def __init__(self, database: Database, outlet: Outlet) -> None:
        self._database = database
        self._outlet = outlet
        self._filed = anyio.Event()

    def announce(self) -> None:
        """Notices have been filed."""
        self._filed.set()

    async def run(self) -> None:
        """Deliver until cancelled; while the outlet cannot be reached, the notices wait."""
        while True:
            self._filed = anyio.Event()
            try:
                while due := self._due():
                    await self._outlet.deliver(due)
                with anyio.move_on_after(self._seconds_until_next()):
                    await self._filed.wait()
            except (BotoCoreError, ClientError, OSError) as error:
                log.warning("sns_unreachable", error=str(error))
                await anyio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)

    def _due(self) -> list[Publication]:
        rows = self._database.read(
            "SELECT number, topic_arn, body FROM publication WHERE due_at_ms <= ? ORDER BY due_at_ms, number LIMIT ?",
            self._database.clock.now_ms(),
            _LARGEST_GROUP,
        )
        return [Publication(*row) for row in rows]

    def _seconds_until_next(self) -> float:
        [(due_at_ms,)] = self._database.read("SELECT min(due_at_ms) FROM publication")
        return math.inf if due_at_ms is None else self._database.clock.seconds_until(due_at_ms)


class SubscribedQueues:
    """The queues here that hear of topics: a notice is put into its queue and removed in one transaction."""

    def __init__(self, database: Database, channels: Channels, queues: Queues) -> None:
        self._database = database
        self._channels = channels
        self._queues = queues

    async def deliver(self, due: list[Publication]) -> None:
        """Each is sent at this moment, to whoever listens now."""
        for queue in await self._database.write(lambda connection: self._put(connection, due)):
            self._queues.announce(queue)

    def _put(self, connection: sqlite3.Connection, due: list[Publication]) -> set[str]:
        now_ms = self._database.clock.now_ms()
        changed: set[str] = set()
        for publication in due:
            _remove(connection, publication)
            queue = self._channels.queue_of_topic(connection, publication.topic_arn)
            if queue is None:
                log.warning("notice_without_subscriber", topic_arn=publication.topic_arn)
                continue
            envelope = envelope_of(publication.topic_arn, publication.body, now_ms)
            messages.put(connection, queue, envelope, now_ms, now_ms)
            changed.add(queue)
        return changed


class OtherSns:
    """Another SNS: each notice is published at least once."""

    def __init__(self, database: Database, clients: RemoteClients, endpoint_url: str) -> None:
        self._database = database
        self._clients = clients
        self._endpoint_url = endpoint_url

    async def deliver(self, due: list[Publication]) -> None:
        """Publish in turn; the first that cannot be is tried again later, and so are those after it."""
        for publication in due:
            await self._publish(publication)
            await self._database.write(partial(_remove, publication=publication))

    async def _publish(self, publication: Publication) -> None:
        topic_arn = publication.topic_arn
        _, _, _, region, account, _ = topic_arn.split(":", 5)
        client = await self._clients.sns(Caller(account=account, region=region), self._endpoint_url)
        try:
            await client.publish(TopicArn=topic_arn, Message=publication.body)
        except ClientError as error:  # no such topic: SNS would not have been reached either
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise
            log.warning("notice_refused", topic_arn=topic_arn, error=str(error))


def _remove(connection: sqlite3.Connection, publication: Publication) -> None:
    connection.execute("DELETE FROM publication WHERE number = ?", (publication.number,))

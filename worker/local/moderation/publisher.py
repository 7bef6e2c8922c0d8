"""Publishes filed notices to another SNS, each at least once."""

from __future__ import annotations

import math

import anyio
import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.local.protocol.identity import Caller
from worker.local.state.database import Database
from worker.local.storage.remote import RemoteClients

log = structlog.get_logger()

_PAUSE_AFTER_FAILURE_SECONDS = 1.0


class Publisher:
    """Takes publications from the database in turn."""

    def __init__(self, database: Database, clients: RemoteClients, endpoint_url: str) -> None:
        self._database = database
        self._clients = clients
        self._endpoint_url = endpoint_url
        self._filed = anyio.Event()

    def announce(self) -> None:
        """Notices have been filed."""
        self._filed.set()

    async def run(self) -> None:
        """Publish until cancelled; while the endpoint cannot be reached, the notices wait."""
        while True:
            self._filed = anyio.Event()
            try:
                while publication := self._next():
                    await self._publish(*publication)
                with anyio.move_on_after(self._seconds_until_next()):
                    await self._filed.wait()
            except (BotoCoreError, ClientError, OSError) as error:
                log.warning("sns_unreachable", endpoint_url=self._endpoint_url, error=str(error))
                await anyio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)

    def _next(self) -> tuple[int, str, str] | None:
        rows = self._database.read(
            "SELECT number, topic_arn, body FROM publication WHERE due_at_ms <= ? ORDER BY due_at_ms, number LIMIT 1",
            self._database.clock.now_ms(),
        )
        return rows[0] if rows else None

    def _seconds_until_next(self) -> float:
        [(due_at_ms,)] = self._database.read("SELECT min(due_at_ms) FROM publication")
        return math.inf if due_at_ms is None else self._database.clock.seconds_until(due_at_ms)

    async def _publish(self, number: int, topic_arn: str, body: str) -> None:
        _, _, _, region, account, _ = topic_arn.split(":", 5)
        client = await self._clients.sns(Caller(account=account, region=region), self._endpoint_url)
        try:
            await client.publish(TopicArn=topic_arn, Message=body)
        except ClientError as error:  # no such topic: SNS would not have been reached either
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise
            log.warning("notice_refused", topic_arn=topic_arn, error=str(error))
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM publication WHERE number = ?", (number,))
        )

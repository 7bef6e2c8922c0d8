"""Which queue a request speaks of, and whether its caller may."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from worker.local.protocol.identity import Caller
from worker.local.sqs import catalog
from worker.local.sqs.channels import Channels, is_queue_name, path_of_url
from worker.local.sqs.messages import Redrive
from worker.local.sqs.queue_attributes import DEFAULTS, target_of
from worker.local.sqs.refusals import bad_address, no_such_queue
from worker.local.state.database import Database

LANE_RETENTION_SECONDS = 14 * 86_400  # the longest that there is: a backfill may be stopped for days


class Queue(msgspec.Struct, frozen=True):
    """A queue that is there. `key` is `account/name`; `attributes` holds those that were not set, too."""

    key: str
    region: str
    attributes: Mapping[str, str]
    created_at_ms: int
    modified_at_ms: int
    purged_at_ms: int | None

    @property
    def name(self) -> str:
        """The name within its account."""
        return self.key.partition("/")[2]

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return f"arn:aws:sqs:{self.region}:{self.key.replace('/', ':')}"

    @property
    def redrive(self) -> Redrive | None:
        """Its redrive policy."""
        if (policy := self.attributes.get("RedrivePolicy")) is None:
            return None
        target = target_of(policy)
        return Redrive(self.arn, target.queue, target.most_receives)

    def number(self, attribute: str) -> int:
        """The value of an attribute that is a number."""
        return int(self.attributes[attribute])


class Directory:
    """Finds queues: those that were created, and those of lanes, which are there without that."""

    def __init__(self, database: Database, channels: Channels, service_url: str) -> None:
        self._database = database
        self._channels = channels
        self._service_url = service_url
        self._began_at_ms = database.clock.now_ms()

    def addressed(self, caller: Caller, queue_url: str) -> Queue:
        """The queue of the URL, whatever the host and port in it.

        Raises:
            ServiceError: it is no queue's URL, or the queue is not there or another account's.

        """
        path = path_of_url(queue_url)
        if path is None:
            raise bad_address(queue_url)
        return self.named(caller, *path)

    def named(self, caller: Caller, account: str, name: str) -> Queue:
        """The account's queue of that name.

        Raises:
            ServiceError: it is not there or another account's.

        """
        key = f"{account}/{name}"
        if not is_queue_name(name) or not self._channels.admits(caller.account, key):
            raise no_such_queue()
        queue = self.find(self._database.reader, key, caller.region)
        if queue is None:
            raise no_such_queue()
        return queue

    def find(self, connection: sqlite3.Connection, key: str, region: str) -> Queue | None:
        """The queue `account/name`; one that nobody made yet is in the region of the caller."""
        row = catalog.find(connection, key)
        is_lanes = self._channels.has_queue(key)
        if row is None or row.deleted_at_ms is not None:
            if not is_lanes:
                return None
            row = catalog.Row(key, region, {}, None, self._began_at_ms, self._began_at_ms)
        defaults = DEFAULTS | ({"MessageRetentionPeriod": str(LANE_RETENTION_SECONDS)} if is_lanes else {})
        return Queue(
            key, row.region, defaults | row.attributes, row.created_at_ms, row.modified_at_ms, row.purged_at_ms
        )

    def beginning_with(self, caller: Caller, prefix: str, after: str, most: int) -> list[str]:
        """The caller's queues in his region by `account/name`, in their order, from behind `after`."""
        start = f"{caller.account}/{prefix}"
        made = catalog.begins_with(self._database.reader, start, caller.region, after, most)
        lanes = {key for key in self._channels.queues_in(caller.region) if key.startswith(start) and key > after}
        return sorted(lanes.union(made))[:most]

    def sources(self, queue: Queue, after: str, most: int) -> list[str]:
        """The queues whose dead-letter queue it is, by `account/name`, in their order, from behind `after`."""
        return catalog.sources(self._database.reader, queue.key, after, most)

    def url_of(self, key: str) -> str:
        """The queue's URL."""
        return f"{self._service_url}/{key}"

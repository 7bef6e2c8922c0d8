"""Which queue a request speaks of, and whether its caller may."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from worker.local.protocol.identity import Caller
from worker.local.sqs import catalog
from worker.local.sqs.channels import Channels, path_of_url
from worker.local.sqs.messages import Redrive
from worker.local.sqs.queue_attributes import DEFAULTS, target_of
from worker.local.sqs.queue_names import QueueName, is_queue_name, name_of_key
from worker.local.sqs.refusals import bad_address, no_such_queue
from worker.local.state.database import Database

LANE_RETENTION_SECONDS = 14 * 86_400  # the longest that there is: a backfill may be stopped for days


class Queue(msgspec.Struct, frozen=True):
    """A queue that is there, by the key of its name; `attributes` holds those that were not set, too."""

    key: str
    attributes: Mapping[str, str]
    created_at_ms: int
    modified_at_ms: int
    purged_at_ms: int | None

    @property
    def name(self) -> str:
        """The name within its account and region."""
        return name_of_key(self.key).name

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return name_of_key(self.key).arn

    @property
    def redrive(self) -> Redrive | None:
        """Its redrive policy."""
        if (policy := self.attributes.get("RedrivePolicy")) is None:
            return None
        target = target_of(policy)
        return Redrive(self.arn, target.queue.key, target.most_receives)

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
        """The queue of the URL in the caller's region, whatever the host and port in it.

        Raises:
            ServiceError: it is no queue's URL, or the queue is not there or another account's.

        """
        path = path_of_url(queue_url)
        if path is None:
            raise bad_address(queue_url)
        return self.named(caller, *path)

    def named(self, caller: Caller, account: str, name: str) -> Queue:
        """The account's queue of that name in the caller's region.

        Raises:
            ServiceError: it is not there or another account's.

        """
        key = QueueName(account, caller.region, name).key
        if not is_queue_name(name) or not self._channels.admits(caller.account, key):
            raise no_such_queue()
        queue = self.find(self._database.reader, key)
        if queue is None:
            raise no_such_queue()
        return queue

    def find(self, connection: sqlite3.Connection, key: str) -> Queue | None:
        """The queue of the key, if it is there."""
        row = catalog.find(connection, key)
        is_lanes = self._channels.has_queue(key)
        if row is None or row.deleted_at_ms is not None:
            if not is_lanes:
                return None
            row = catalog.Row(key, {}, None, self._began_at_ms, self._began_at_ms)
        defaults = DEFAULTS | ({"MessageRetentionPeriod": str(LANE_RETENTION_SECONDS)} if is_lanes else {})
        return Queue(key, defaults | row.attributes, row.created_at_ms, row.modified_at_ms, row.purged_at_ms)

    def beginning_with(self, caller: Caller, prefix: str, after: str, most: int) -> list[str]:
        """The keys of the caller's queues in his region, in their order, from behind `after`."""
        start = QueueName(caller.account, caller.region, prefix).key
        made = catalog.begins_with(self._database.reader, start, after, most)
        lanes = {key for key in self._channels.queues_of_lanes() if key.startswith(start) and key > after}
        return sorted(lanes.union(made))[:most]

    def sources(self, queue: Queue, after: str, most: int) -> list[str]:
        """The keys of the queues whose dead-letter queue it is, in their order, from behind `after`."""
        return catalog.sources(self._database.reader, queue.key, after, most)

    def url_of(self, key: str) -> str:
        """The queue's URL, which is the same in every region."""
        queue = name_of_key(key)
        return f"{self._service_url}/{queue.account}/{queue.name}"

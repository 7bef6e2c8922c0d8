"""Which queue hears of which topic, and which queues there are without being created."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker.config import Lane
from worker.local.accounts import TOPIC_PREFIX, account_of
from worker.local.sqs import catalog
from worker.local.sqs.queue_names import QueueName, name_of_key

_QUEUE_PATH = re.compile(r"/(\d{12})/([^/]+)/?")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):(\d{12}):([A-Za-z0-9_-]+)")


def path_of_url(queue_url: str) -> tuple[str, str] | None:
    """Account and name in a queue's URL, whatever the host and port in it: the service may have had others before."""
    try:
        path = _QUEUE_PATH.fullmatch(urlsplit(queue_url).path)
    except ValueError:  # no URL at all, as with half of an IPv6 address
        return None
    return (path[1], path[2]) if path else None


class Channels:
    """The queues and topics that lanes name, and those that the service makes up for any lane's name.

    A queue is known by the key of its name.
    """

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._queue_of_topic: dict[str, str] = {}
        self._foreign: set[str] = set()
        self._made_up: set[str] = set()
        for name, lane in lanes.items():
            path = path_of_url(lane.queue_url)
            if lane.is_local:
                self._made_up.add(QueueName(account_of(name), lane.region, name).key)
            elif path is not None:
                account, queue_name = path
                queue = QueueName(account, lane.region, queue_name).key
                self._foreign.add(queue)
                self._queue_of_topic[lane.sns_topic_arn] = queue

    def has_queue(self, queue: str) -> bool:
        """Whether the queue is a lane's, and so is there without being created."""
        name = name_of_key(queue)
        return queue in self._foreign or name.account == account_of(name.name)

    def queues_of_lanes(self) -> set[str]:
        """The queues of lanes, as far as the lanes are known by name."""
        return self._foreign | self._made_up

    def admits(self, account: str, queue: str) -> bool:
        """Whether the account may use the queue: it is its own, or a lane's whose keys do not tell its account here."""
        return queue.startswith(f"{account}/") or queue in self._foreign

    def queue_of_topic(self, connection: sqlite3.Connection, topic_arn: str) -> str | None:
        """The queue that is subscribed to the topic; None where nobody listens.

        It is a lane's, or one that was created in the topic's account and region with the topic's name, with or
        without the beginning that a topic's name must have for Rekognition's managed policy.
        """
        if (queue := self._queue_of_topic.get(topic_arn)) is not None:
            return queue
        if (topic := _TOPIC.fullmatch(topic_arn)) is None:
            return None
        region, account, name = topic.groups()
        lane = name.removeprefix(TOPIC_PREFIX)
        if lane != name and account == account_of(lane):
            return QueueName(account, region, lane).key
        candidates = dict.fromkeys((name, lane, name.removeprefix(TOPIC_PREFIX.removesuffix("-"))))
        queues = (QueueName(account, region, candidate).key for candidate in candidates)
        return next((queue for queue in queues if _is_made(connection, queue)), None)


def _is_made(connection: sqlite3.Connection, queue: str) -> bool:
    row = catalog.find(connection, queue)
    return row is not None and row.deleted_at_ms is None

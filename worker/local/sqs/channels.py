"""Which queue hears of which topic, and which queues there are without being created."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker.config import Lane
from worker.local.accounts import TOPIC_PREFIX, account_of
from worker.local.sqs import catalog

_QUEUE_PATH = re.compile(r"/(\d{12})/([^/]+)/?")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:(\d{12}):([A-Za-z0-9_-]+)")


def path_of_url(queue_url: str) -> tuple[str, str] | None:
    """Account and name in a queue's URL, whatever the host and port in it: the service may have had others before."""
    try:
        path = _QUEUE_PATH.fullmatch(urlsplit(queue_url).path)
    except ValueError:  # no URL at all, as with half of an IPv6 address
        return None
    return (path[1], path[2]) if path else None


def is_queue_name(name: str) -> bool:
    """Whether a standard queue may have the name."""
    return _QUEUE_NAME.fullmatch(name) is not None


class Channels:
    """The queues and topics that lanes name, and those that the service makes up for any lane's name.

    A queue is named by `account/name`.
    """

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._queue_of_topic: dict[str, str] = {}
        self._foreign: dict[str, str] = {}
        self._made_up: dict[str, str] = {}
        for name, lane in lanes.items():
            path = path_of_url(lane.queue_url)
            if lane.is_local:
                self._made_up[f"{account_of(name)}/{name}"] = lane.region
            elif path is not None:
                queue = "/".join(path)
                self._foreign[queue] = lane.region
                self._queue_of_topic[lane.sns_topic_arn] = queue

    def has_queue(self, queue: str) -> bool:
        """Whether the queue is a lane's, and so is there without being created."""
        account, _, name = queue.partition("/")
        return queue in self._foreign or account == account_of(name)

    def queues_in(self, region: str) -> list[str]:
        """The queues of the region's lanes, as far as the lanes are known by name."""
        return [queue for queue, of_region in (self._foreign | self._made_up).items() if of_region == region]

    def admits(self, account: str, queue: str) -> bool:
        """Whether the account may use the queue: it is its own, or a lane's whose keys do not tell its account here."""
        return queue.startswith(f"{account}/") or queue in self._foreign

    def queue_of_topic(self, connection: sqlite3.Connection, topic_arn: str) -> str | None:
        """The queue that is subscribed to the topic; None where nobody listens.

        It is a lane's, or one that was created in the topic's account with the topic's name, with or without the
        beginning that a topic's name must have for Rekognition's managed policy.
        """
        if (queue := self._queue_of_topic.get(topic_arn)) is not None:
            return queue
        if (topic := _TOPIC.fullmatch(topic_arn)) is None:
            return None
        account, name = topic.groups()
        lane = name.removeprefix(TOPIC_PREFIX)
        if lane != name and account == account_of(lane):
            return f"{account}/{lane}"
        candidates = dict.fromkeys((name, lane, name.removeprefix(TOPIC_PREFIX.removesuffix("-"))))
        return next((queue for each in candidates if _is_made(connection, queue := f"{account}/{each}")), None)


def _is_made(connection: sqlite3.Connection, queue: str) -> bool:
    row = catalog.find(connection, queue)
    return row is not None and row.deleted_at_ms is None

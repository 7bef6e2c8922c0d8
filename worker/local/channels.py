"""Which queue hears of which topic, and which queues there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker.config import Lane
from worker.local.accounts import TOPIC_PREFIX, account_of

_QUEUE_PATH = re.compile(r"/(\d{12})/([A-Za-z0-9_-]{1,80})/?")
_LOCAL_TOPIC = re.compile(rf"arn:aws:sns:[a-z0-9-]+:(\d{{12}}):{TOPIC_PREFIX}([A-Za-z0-9_-]+)")


def queue_of_url(queue_url: str) -> str | None:
    """`account/name` of a queue's URL, whatever the host and port in it: the service may have had others before."""
    path = _QUEUE_PATH.fullmatch(urlsplit(queue_url).path)
    return f"{path[1]}/{path[2]}" if path else None


class Channels:
    """The queues and topics that lanes name, and those that the service makes up for any lane's name."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._queue_of_topic: dict[str, str] = {}
        self._queues: set[str] = set()
        for lane in lanes.values():
            queue = queue_of_url(lane.queue_url)
            if queue is not None and not lane.is_local:
                self._queues.add(queue)
                self._queue_of_topic[lane.sns_topic_arn] = queue

    def has_queue(self, queue: str) -> bool:
        """Whether `account/name` is a queue here."""
        account, _, name = queue.partition("/")
        return queue in self._queues or account == account_of(name)

    def queue_of_topic(self, topic_arn: str) -> str | None:
        """The queue that is subscribed to the topic; None where nobody listens."""
        if (queue := self._queue_of_topic.get(topic_arn)) is not None:
            return queue
        made_up = _LOCAL_TOPIC.fullmatch(topic_arn)
        if made_up and made_up[1] == account_of(made_up[2]):
            return f"{made_up[1]}/{made_up[2]}"
        return None

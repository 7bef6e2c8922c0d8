"""Mistakes that show only when keys are seen together.

They are looked for in the values as they were read, not in the validated settings: so they are found whatever else is
wrong, as long as the keys that they concern are sound themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from worker.config.settings import LEAST_TOKEN, LOCAL, TOPIC_ARN, Keys, Worker, is_loopback, split_address

Finding = tuple[Keys, str]

_QUEUE_HOST = re.compile(
    r"(?:sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)|(?P<old>[a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?"
)


@dataclass(frozen=True, slots=True)
class _Values:
    """Texts as they were read; None stands for one that has a mistake of its own."""

    tree: Mapping[str, Any]
    faulty: AbstractSet[Keys]

    def text(self, *keys: str, default: str = "") -> str | None:
        value: Any = self.tree
        for depth, key in enumerate(keys, start=1):
            if keys[:depth] in self.faulty or not isinstance(value, dict):
                return None
            value = value.get(key, {} if depth < len(keys) else default)
        return value if isinstance(value, str) else None


def mistakes_between_keys(tree: Mapping[str, Any], faulty: AbstractSet[Keys], *, needs_lane: bool) -> Iterator[Finding]:
    """(keys, sentence) of each mistake; `faulty` names the keys that are wrong on their own."""
    values = _Values(tree, faulty)
    yield from _unguarded_listener(values)
    lanes = tree.get("lanes", {})
    if not isinstance(lanes, dict):
        return
    if needs_lane and not lanes:
        yield ("lanes",), "is empty; write at least one table, such as [lanes.main]"
    for name, lane in lanes.items():
        if not isinstance(lane, dict):
            continue
        endpoint = values.text("lanes", name, "endpoint_url")
        if endpoint == LOCAL and values.text("lanes", name, "quotas") == "auto":
            yield ("lanes", name, "quotas"), "leave it out: the local service has the quotas that are written here"
        elif endpoint not in (LOCAL, None):
            yield from _incomplete(values, name)
            yield from _elsewhere(values, name)
    yield from _shared_queues(values, list(lanes))
    yield from _names_alike(list(lanes))


def _unguarded_listener(values: _Values) -> Iterator[Finding]:
    address = values.text("worker", "http_listen", default=Worker.model_fields["http_listen"].default)
    token = values.text("worker", "http_token")
    if not address or token is None or is_loopback(split_address(address)[0]):
        return
    if token == "":
        yield ("worker", "http_listen"), f'is "{address}", beyond this machine; write a worker.http_token as well'
    elif len(token) < LEAST_TOKEN:
        said = f"is shorter than {LEAST_TOKEN} symbols, and can be guessed from elsewhere; write a long random one"
        yield ("worker", "http_token"), said


def _incomplete(values: _Values, lane: str) -> Iterator[Finding]:
    for key in ("queue_url", "sns_topic_arn", "publish_role_arn"):
        if values.text("lanes", lane, key) == "":
            yield ("lanes", lane, key), 'is missing; write it, or endpoint_url = "local"'


def _elsewhere(values: _Values, lane: str) -> Iterator[Finding]:
    """A lane, its queue and its topic share one region: Rekognition publishes to topics of its own region only."""
    region = values.text("lanes", lane, "region")
    places: dict[Keys, str | None] = {
        ("queue_url",): _queue_region(values.text("lanes", lane, "queue_url") or ""),
        ("sns_topic_arn",): _topic_region(values.text("lanes", lane, "sns_topic_arn") or ""),
        ("arrivals", "queue_url"): _queue_region(values.text("lanes", lane, "arrivals", "queue_url") or ""),
    }
    for keys, place in places.items():
        if region and place and place != region:
            yield ("lanes", lane, *keys), f"is in {place}, the lane in {region}; write one of the lane's region"


def _queue_region(url: str) -> str | None:
    """The region in the host of an AWS queue; None for other hosts, such as a VPC endpoint with a name of its own."""
    match = _QUEUE_HOST.fullmatch(urlsplit(url).hostname or "")
    return (match["region"] or match["old"]) if match else None


def _topic_region(arn: str) -> str | None:
    match = TOPIC_ARN.fullmatch(arn)
    return match["region"] if match else None


def _shared_queues(values: _Values, lanes: list[str]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for lane in lanes:
        if (url := values.text("lanes", lane, "queue_url")) and (owner := owners.setdefault(url, lane)) != lane:
            yield ("lanes", lane, "queue_url"), f"is the queue of lane {owner} too; write a queue of the lane's own"
    takers: dict[str, str] = {}
    for lane in lanes:
        url = values.text("lanes", lane, "arrivals", "queue_url")
        keys = ("lanes", lane, "arrivals", "queue_url")
        if url and url in owners:
            yield keys, f"is the queue in which lane {owners[url]} hears of its jobs; write a queue of their own"
        elif url and (taker := takers.setdefault(url, lane)) != lane:
            yield keys, f"is the queue of the arrivals of lane {taker} too; let one lane take them"


def _names_alike(lanes: list[str]) -> Iterator[Finding]:
    """Variables of the environment name lanes in any case, so two names must differ by more."""
    first: dict[str, str] = {}
    for lane in lanes:
        if (other := first.setdefault(lane.lower(), lane)) != lane:
            yield ("lanes", lane), f"differs from lane {other} by upper and lower case only; write another name"

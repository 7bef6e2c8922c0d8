"""The topic that Rekognition reports to, and the queue's subscription to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from worker.doctor.examined import Examined, unanswered
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.errors import AwsError

MOST_PAGES = 50  # of a hundred subscriptions each
_MISSING = frozenset({"NotFound", "NotFoundException"})


class Subscription(Struct, frozen=True):
    """The queue's; `filter` is the text of a filter policy, "" for none, None where it could not be seen."""

    arn: str
    filter: str | None = None

    @property
    def is_confirmed(self) -> bool:
        """A subscription that waits for its confirmation has no ARN."""
        return self.arn.startswith("arn:")


class TopicSeen(Struct, frozen=True):
    """`subscription` is None where there is none of the queue's."""

    attributes: dict[str, str] | AwsError
    subscription: Subscription | AwsError | None


async def look(lane: Examined) -> TopicSeen:
    """Ask for the topic's attributes, and for the queue among its subscriptions."""
    async with asyncio.TaskGroup() as calls:
        attributes = calls.create_task(lane.ask("sns", lambda client: _attributes(client, lane)))
        subscription = calls.create_task(_look_at_subscription(lane))
    return TopicSeen(attributes.result(), subscription.result())


async def _look_at_subscription(lane: Examined) -> Subscription | AwsError | None:
    found = await lane.ask("sns", lambda client: _subscription(client, lane))
    if found is None or isinstance(found, AwsError) or not found.is_confirmed:
        return found
    filtered = await lane.ask("sns", lambda client: _filter(client, found.arn))
    return Subscription(found.arn, None if isinstance(filtered, AwsError) else filtered)


async def _attributes(client: Any, lane: Examined) -> dict[str, str]:
    answer = await client.get_topic_attributes(TopicArn=lane.config.sns_topic_arn)
    return {str(name): str(value) for name, value in answer["Attributes"].items()}


async def _subscription(client: Any, lane: Examined) -> Subscription | None:
    token: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = await client.list_subscriptions_by_topic(TopicArn=lane.config.sns_topic_arn, **token)
        for found in page["Subscriptions"]:
            if (found["Protocol"], found["Endpoint"]) == ("sqs", lane.queue_arn):
                return Subscription(found["SubscriptionArn"])
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    return None


async def _filter(client: Any, arn: str) -> str:
    answer = await client.get_subscription_attributes(SubscriptionArn=arn)
    return str(answer["Attributes"].get("FilterPolicy", ""))


def judge(lane: Examined, seen: TopicSeen) -> Iterator[Finding]:
    """What cannot be seen of the topic is no fault: the worker has no business with it."""
    about, arn = lane.about("topic"), lane.config.sns_topic_arn
    mend = f"write the lane's own in lanes.{lane.name}.sns_topic_arn"
    if lane.config.topic_account != lane.account_id:
        said = f"{arn} is of account {lane.config.topic_account}, the lane of {lane.account_id}"
        yield fault(about, said, mend)
    elif isinstance(seen.attributes, AwsError) and seen.attributes.code in _MISSING:
        yield fault(about, f"there is no topic {arn}", f"make it, or {mend}")
    elif isinstance(seen.attributes, AwsError):
        yield unanswered(about, seen.attributes, "sns:GetTopicAttributes")
    else:
        yield fine(about, arn)


def judge_subscription(lane: Examined, seen: Subscription | AwsError | None) -> Finding:
    """Whether the topic's notices come to the queue."""
    about = lane.about("subscription")
    if isinstance(seen, AwsError):
        return unanswered(about, seen, "sns:ListSubscriptionsByTopic")
    if seen is None:
        command = f"aws sns subscribe --protocol sqs --topic-arn {lane.config.sns_topic_arn}"
        said = f"the queue {lane.queue_arn} is not subscribed to the topic {lane.config.sns_topic_arn}"
        return fault(about, said, f"{command} --notification-endpoint {lane.queue_arn}")
    if not seen.is_confirmed:
        return fault(about, "it was never confirmed", "confirm it, or subscribe the queue as the queue's own account")
    if seen.filter:
        return fault(about, "a filter policy keeps notices back", "remove its FilterPolicy")
    if seen.filter is None:
        return not_checked(about, "there is one; whether it has a filter needs sns:GetSubscriptionAttributes")
    return fine(about, "the queue hears of what is published")

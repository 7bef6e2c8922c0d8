"""The way of a notice: publish role, topic, subscription, queue. A link is judged if what it joins is sound."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from msgspec import Struct

from worker.doctor import publish_role, publishing, queue_attributes, topic
from worker.doctor.examined import Examined
from worker.doctor.findings import Finding, are_faulty, not_checked
from worker.doctor.publish_role import Role
from worker.doctor.publishing import Grants
from worker.doctor.queue_attributes import Attributes
from worker.doctor.topic import TopicSeen
from worker.errors import AwsError


class ChannelSeen(Struct, frozen=True):
    """What was seen on the way to the queue."""

    topic: TopicSeen
    role: Role | AwsError
    grants: Grants | AwsError


async def look(lane: Examined) -> ChannelSeen:
    """Look at topic and role."""
    async with asyncio.TaskGroup() as looks:
        of_topic = looks.create_task(topic.look(lane))
        role = looks.create_task(publish_role.look(lane))
        grants = looks.create_task(publishing.look(lane))
    return ChannelSeen(of_topic.result(), role.result(), grants.result())


def judge(
    lane: Examined, seen: ChannelSeen, queue: Attributes | AwsError, *, is_queue_missing: bool
) -> Iterator[Finding]:
    """A topic or queue that is another one would be refused by everything else: that is told once."""
    ends = [*topic.judge(lane, seen.topic), *publish_role.judge(lane, seen.role)]
    yield from ends
    if is_queue_missing or are_faulty(ends):
        yield not_checked(lane.about("subscription and policies"), "what they join is at fault")
        return
    subscription = topic.judge_subscription(lane, seen.topic.subscription)
    yield subscription
    if are_faulty([subscription]):
        yield not_checked(lane.about("policies"), "the queue does not hear the topic")
        return
    if not isinstance(queue, AwsError):
        yield queue_attributes.judge_policy(lane, queue)
    yield publishing.judge(lane, seen.role, seen.grants, seen.topic.attributes)

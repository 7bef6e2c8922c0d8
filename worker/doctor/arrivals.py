"""The queue of arrivals: whether it may be used, and tells of objects."""

from __future__ import annotations

from collections.abc import Iterator

from worker.aws.arrivals import read_arrivals
from worker.aws.notices import text_of
from worker.doctor.examined import Examined
from worker.doctor.findings import Finding, fault, fine
from worker.doctor.queue import QueueSeen, look_at, unusable


async def look(lane: Examined) -> QueueSeen | None:
    """As at the lane's own queue; None where the lane takes no arrivals."""
    url = lane.config.arrivals.queue_url
    return await look_at(lane, url) if url else None


def judge(lane: Examined, seen: QueueSeen) -> Iterator[Finding]:
    """Whatever S3 sends is in order, also what tells of nothing new."""
    about, url = lane.about("arrivals"), lane.config.arrivals.queue_url
    reason = unusable(lane, seen, url, f"lanes.{lane.name}.arrivals.queue_url", "worker-policy-arrivals.json")
    faults = [read_arrivals(text_of(message, "Body")).fault for message in seen.messages]
    if reason:
        yield fault(about, *reason)
    elif unreadable := next(filter(None, faults), None):
        said = f"{sum(map(bool, faults))} of the messages in it are no event notifications of S3 ({unreadable[:200]})"
        yield fault(about, said, "see who else sends to it; the worker puts such messages aside")
    else:
        yield fine(about, "messages can be received and deleted")

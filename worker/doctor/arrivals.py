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
    told = [read_arrivals(text_of(message, "Body")) for message in seen.messages]
    strange = sum(each.is_foreign or each.fault is not None for each in told)
    if reason:
        yield fault(about, *reason)
    elif strange:
        said = f"{strange} of the messages in it are no event notifications of S3: somebody else uses the queue too"
        yield fault(about, said, f"write a queue of its own in lanes.{lane.name}.arrivals.queue_url")
    else:
        yield fine(about, "messages can be received and deleted")

"""Whether the account is granted what the lane is to use."""

from __future__ import annotations

from collections.abc import Iterator

from worker.aws.quotas import Quotas, read_quotas
from worker.doctor.examined import Examined, unanswered
from worker.doctor.findings import Finding, fault, fine
from worker.errors import AwsError

_READING = "servicequotas:GetServiceQuota and GetAWSDefaultServiceQuota"


async def look(lane: Examined) -> Quotas | AwsError:
    """Ask Service Quotas."""
    return await lane.ask("service-quotas", read_quotas)


def judge(lane: Examined, seen: Quotas | AwsError) -> Iterator[Finding]:
    """A lane that asks for its quotas itself cannot have too high ones."""
    about, config = lane.about("quotas"), lane.config
    if isinstance(seen, AwsError):
        yield unanswered(about, seen, _READING)
        return
    granted = {
        "start_per_second": seen.start_per_second,
        "get_per_second": seen.get_per_second,
        "concurrent_jobs": seen.concurrent_jobs,
    }
    told = ", ".join(f"{key} {value:g}" for key, value in granted.items())
    beyond = [key for key, value in granted.items() if config.quotas != "auto" and getattr(config, key) > value]
    if not beyond:
        yield fine(about, f"the account is granted {told}")
    for key in beyond:
        said = f"{key} is {getattr(config, key):g}, and the account is granted {granted[key]:g}: more would be refused"
        path = f"lanes.{lane.name}"
        yield fault(about, said, f'write {path}.{key} = {granted[key]:g}, or {path}.quotas = "auto", or have it raised')

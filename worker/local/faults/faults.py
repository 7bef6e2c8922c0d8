"""The plan in force, as the parts of the service ask it."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.local.faults.in_force import InForce, Spoiling
from worker.local.faults.plan import Early, JobFault, NoticeFault, Plan
from worker.local.protocol.identity import Caller
from worker.local.state.clock import Clock
from worker.local.state.jobs import NewJob

_NOTHING = Plan()


class Faults:
    """Asks the plan in force. It is replaced as a whole, so that no question meets half of one and half of another."""

    def __init__(self, clock: Clock, plan: Plan = _NOTHING) -> None:
        self._clock = clock
        self._in_force = InForce(clock, plan)

    def put(self, plan: Plan) -> None:
        """Put another plan in force, from this moment on, with nothing counted."""
        self._in_force = InForce(self._clock, plan)

    def shown(self) -> dict[str, Any]:
        """The plan, and how often each of its faults has struck."""
        in_force = self._in_force
        return {"plan": msgspec.to_builtins(in_force.plan), "strikes": in_force.strikes()}

    def of_call(self, caller: Caller, operation: str) -> Spoiling:
        """What happens to a call."""
        return self._in_force.of_call(caller, operation)

    def of_notice(self, job: NewJob) -> list[NoticeFault]:
        """What happens to the notice of a job that has ended."""
        return self._in_force.of_notice(job)

    def early(self, job: NewJob) -> Early | None:
        """Whether the notice of a job that is to be started overtakes the answer to its Start."""
        return self._in_force.early(job)

    def of_job(self, job: NewJob) -> JobFault | None:
        """How a job ends in place of what its video would lead to."""
        return self._in_force.of_job(job)

    def expires_token(self, job: NewJob, page: int) -> bool:
        """Whether the token that leads to the job's page of that number is to be taken for expired, this once."""
        return self._in_force.expires_token(job, page)

    def share_of_others(self, caller: Caller) -> float:
        """Which share of the account's quotas other tenants use just now."""
        return self._in_force.share_of_others(caller)

"""A plan in force, with what has been counted of it: what it strikes, and how often it has struck."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import msgspec

from worker.local.faults.plan import (
    CallFault,
    Early,
    Foreign,
    JobFault,
    JobSelection,
    Late,
    Lost,
    Malformed,
    NoticeFault,
    Plan,
    Refused,
    Reset,
    Selection,
    Slow,
    Truncated,
    When,
)
from worker.local.protocol.identity import Caller
from worker.local.state.clock import Clock
from worker.local.state.jobs import NewJob

S = TypeVar("S", bound=Selection)

_REMEMBERED = 100_000  # jobs, those of the longest ago forgotten first: some tens of megabytes at most


class Spoiling(msgspec.Struct, frozen=True):
    """What is to happen to a call: its answer is delayed, and replaced where there is a fault."""

    delay_seconds: float = 0.0
    fault: Refused | Reset | Truncated | Malformed | None = None

    @property
    def is_executed(self) -> bool:
        """Whether the work is done all the same."""
        return not isinstance(self.fault, Refused | Reset) or self.fault.executed


_UNSPOILT = Spoiling()


class _Recent:
    """A set that forgets what was added first once it is full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._members: dict[Hashable, None] = {}

    def __contains__(self, member: Hashable) -> bool:
        return member in self._members

    def add(self, member: Hashable) -> None:
        self._members[member] = None
        if len(self._members) > self._most:
            del self._members[next(iter(self._members))]


class InForce:
    """Decides by one plan, from the moment that this is made; asked by the event loop and by the writing thread.

    What `share` draws for a job follows from the seed, the fault's place and the job, whatever the order of events.
    Calls are told apart by their order alone, and so is everything that `skip` and `times` count.
    """

    def __init__(self, clock: Clock, plan: Plan) -> None:
        self.plan = plan
        self._clock = clock
        self._began_at_seconds = clock.passed_seconds()
        self._counting = threading.Lock()
        self._candidates: Counter[str] = Counter()
        self._struck: Counter[str] = Counter()
        self._expired = _Recent(_REMEMBERED)
        self._early = _Recent(_REMEMBERED)

    def strikes(self) -> dict[str, int]:
        """How often each fault has struck."""
        with self._counting:
            return dict(self._struck)

    def of_call(self, caller: Caller, operation: str) -> Spoiling:
        """What happens to a call."""
        if not self.plan.calls:
            return _UNSPOILT
        delay_seconds = 0.0
        for name, fault in _named("calls", self.plan.calls):
            if not (_concerns(fault, operation) and self._strikes_next(name, fault, caller)):
                continue
            if not isinstance(fault, Slow):
                return Spoiling(delay_seconds, fault)
            delay_seconds += fault.seconds
        return Spoiling(delay_seconds)

    def of_notice(self, job: NewJob) -> list[NoticeFault]:
        """What happens to the notice of a job that has ended: `lost` is tried first, and leaves only `foreign`."""
        named = [(name, fault) for name, fault in _named("notices", self.plan.notices) if self._may_strike(fault, job)]
        lost = ((name, fault) for name, fault in named if isinstance(fault, Lost))
        loss = next((fault for name, fault in lost if self._strikes_job(name, fault, job)), None)
        left = (each for each in named if not isinstance(each[1], Lost))
        found: list[NoticeFault] = [] if loss is None else [loss]
        for name, fault in left:
            if (loss is None or isinstance(fault, Foreign)) and self._strikes_job(name, fault, job):
                found.append(fault)
        return found

    def early(self, job: NewJob) -> Early | None:
        """Whether the notice of a job that is to be started overtakes the answer to its Start."""
        if job.topic_arn is None:
            return None
        for name, fault in _named("notices", self.plan.notices):
            if isinstance(fault, Early) and self._strikes_job(name, fault, job):
                self._early.add(job.job_id)
                return fault
        return None

    def of_job(self, job: NewJob) -> JobFault | None:
        """How a job ends in place of what its video would lead to."""
        found = (fault for name, fault in _named("jobs", self.plan.jobs) if self._strikes_job(name, fault, job))
        return next(found, None)

    def expires_token(self, job: NewJob, page: int) -> bool:
        """Whether the token that leads to the job's page of that number is to be taken for expired, this once."""
        for name, fault in _named("tokens", self.plan.tokens):
            if fault.page == page and (job.job_id, page) not in self._expired and self._strikes_job(name, fault, job):
                self._expired.add((job.job_id, page))
                return True
        return False

    def share_of_others(self, caller: Caller) -> float:
        """Which share of the account's quotas other tenants use just now."""
        return min(1.0, sum(tenant.share for tenant in self.plan.tenants if self._is_in_force(tenant, caller)))

    def _may_strike(self, fault: NoticeFault, job: NewJob) -> bool:
        return not isinstance(fault, Early) and not (isinstance(fault, Late) and job.job_id in self._early)

    def _is_in_force(self, fault: When, caller: Caller) -> bool:
        seconds = self._clock.passed_seconds() - self._began_at_seconds
        return (
            fault.from_seconds <= seconds
            and (fault.until_seconds is None or seconds < fault.until_seconds)
            and (not fault.accounts or caller.account in fault.accounts)
            and (not fault.regions or caller.region in fault.regions)
        )

    def _strikes_next(self, name: str, fault: Selection, caller: Caller) -> bool:
        """Whether the next candidate is struck."""
        return self._is_in_force(fault, caller) and self._strikes(name, fault, None)

    def _strikes_job(self, name: str, fault: JobSelection, job: NewJob) -> bool:
        owner = Caller(account=job.account, region=job.region)
        return (
            self._is_in_force(fault, owner)
            and (not fault.keys or any(fnmatchcase(job.key, pattern) for pattern in fault.keys))
            and self._strikes(name, fault, "\0".join((job.bucket, job.key, job.version_id or "", job.token or "")))
        )

    def _strikes(self, name: str, fault: Selection, candidate: str | None) -> bool:
        """Count a candidate and whether it is struck; None stands for its number."""
        with self._counting:
            drawn = _draw(self.plan.seed, name, str(self._candidates[name]) if candidate is None else candidate)
            self._candidates[name] += 1
            is_struck = (
                self._candidates[name] > fault.skip
                and (fault.times is None or self._struck[name] < fault.times)
                and drawn < fault.share
            )
            self._struck[name] += is_struck
            return is_struck


def _named(table: str, faults: Sequence[S]) -> Iterator[tuple[str, S]]:
    """Each fault with the name that its strikes are counted under, such as `calls[0]`."""
    return ((f"{table}[{place}]", fault) for place, fault in enumerate(faults))


def _concerns(fault: CallFault, operation: str) -> bool:
    return not fault.operations or operation in fault.operations


def _draw(seed: int, name: str, candidate: str) -> float:
    """A number from 0 up to 1 that follows from the three."""
    digest = hashlib.blake2b(f"{seed}\0{name}\0{candidate}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56

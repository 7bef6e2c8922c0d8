"""What an account may do: a token bucket for each account, region and operation, and a number of running jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from worker.config import Lane, Local
from worker.local.accounts import account_of
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError, documented
from worker.local.state.clock import Clock

_PATIENCE_SECONDS = 10
_IDLE_SECONDS = 60.0  # a longer pause between two calls is no use of a quota that was left
_FEWER_GETS_PER_SECOND = 5.0
_REGIONS_OF_MORE_GETS = frozenset({"us-east-1", "us-west-2", "eu-west-1", "us-gov-west-1"})


class Quota(msgspec.Struct, frozen=True):
    """What an account may do in a region, in seconds of the service's clock."""

    start_per_second: float
    get_per_second: float
    concurrent_jobs: int


class TokenBucket:
    """Lets `rate_per_second` calls pass on average, and at most `burst` at once after a pause."""

    __slots__ = ("_burst", "_filled_at_seconds", "_tokens")

    def __init__(self, burst: float, now_seconds: float) -> None:
        self._burst = burst
        self._tokens = burst
        self._filled_at_seconds = now_seconds

    def take(self, rate_per_second: float, now_seconds: float) -> bool:
        """Whether one more call may pass; a call that may not takes nothing."""
        earned = (now_seconds - self._filled_at_seconds) * rate_per_second
        self._tokens = min(self._burst, self._tokens + earned)
        self._filled_at_seconds = now_seconds
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Meter:
    """What one account does with one operation."""

    __slots__ = ("_attempts", "_granted", "_last_at_seconds", "granted_calls", "offered_calls")

    def __init__(self, burst: float, patience: float, now_seconds: float) -> None:
        self._granted = TokenBucket(burst, now_seconds)
        self._attempts = TokenBucket(patience, now_seconds)
        self._last_at_seconds = now_seconds
        self.granted_calls = 0
        self.offered_calls = burst

    def take(self, rate_per_second: float, now_seconds: float) -> str | None:
        """The code of the error that the call is refused with; None where it may pass."""
        gap_seconds = min(now_seconds - self._last_at_seconds, _IDLE_SECONDS)
        self.offered_calls += gap_seconds * rate_per_second
        self._last_at_seconds = now_seconds
        is_calm = self._attempts.take(2 * rate_per_second, now_seconds)
        if self._granted.take(rate_per_second, now_seconds):
            self.granted_calls += 1
            return None
        return "ProvisionedThroughputExceededException" if is_calm else "ThrottlingException"


class QuotaUse(msgspec.Struct, frozen=True):
    """How much of a quota was used while it was asked for: `used` is a share of what was granted, from 0 to 1."""

    account: str
    region: str
    quota: str
    granted: float
    used: float


class Quotas:
    """The quotas of all accounts, and how far each is used."""

    def __init__(
        self, lanes: Mapping[str, Lane], local: Local, clock: Clock, share_of_others: Callable[[Caller], float]
    ) -> None:
        self._by_account = {account_of(name): _quota_of(lane, local) for name, lane in lanes.items()}
        self._by_region = {lane.region: _quota_of(lane, local) for lane in reversed(list(lanes.values()))}
        self._local = local
        self._burst = local.quota_burst
        self._clock = clock
        self._share_of_others = share_of_others
        self._meters: dict[tuple[Caller, str], _Meter] = {}

    def of(self, caller: Caller) -> Quota:
        """The quota of the lane whose account calls, else of the first lane of the region, else AWS's default."""
        of_lane = self._by_account.get(caller.account) or self._by_region.get(caller.region)
        return of_lane or _default_quota(caller.region, self._local)

    def calls_per_second(self, caller: Caller, operation: str) -> float:
        """What the caller is granted of StartContentModeration or GetContentModeration."""
        quota = self.of(caller)
        return quota.start_per_second if operation == "StartContentModeration" else quota.get_per_second

    def admit(self, caller: Caller, operation: str) -> None:
        """Count a call.

        AWS does not say when it answers which of its two throttling errors. Here a caller hears ThrottlingException
        who goes on at more than twice the quota, refused calls included, for as many calls as ten seconds grant.

        Raises:
            ServiceError: ProvisionedThroughputExceededException or ThrottlingException.

        """
        per_second = self.calls_per_second(caller, operation) * (1 - self._share_of_others(caller))
        now_seconds = self._clock.passed_seconds()
        if code := self._meter(caller, operation, now_seconds).take(per_second, now_seconds):
            raise documented(code)

    def calls_used(self) -> Iterator[QuotaUse]:
        """Of every account's calls since the process began; idle time beyond a minute does not count."""
        for (caller, operation), meter in self._meters.items():
            used = round(meter.granted_calls / meter.offered_calls, 4)
            granted = self.calls_per_second(caller, operation)
            yield QuotaUse(caller.account, caller.region, operation, granted, used)

    def _meter(self, caller: Caller, operation: str, now_seconds: float) -> _Meter:
        key = (caller, operation)
        if (meter := self._meters.get(key)) is None:
            patience = self._burst + _PATIENCE_SECONDS * self.calls_per_second(caller, operation)
            meter = self._meters[key] = _Meter(self._burst, patience, now_seconds)
        return meter

    def require_slot(self, caller: Caller, running: int) -> None:
        """Refuse a job with LimitExceededException where so many that run leave no room for it."""
        limit = self.of(caller).concurrent_jobs
        open_jobs = running + math.ceil(limit * self._share_of_others(caller))
        if open_jobs >= limit:
            message = f"{min(open_jobs, limit)} open Jobs for User {caller.user_arn} Maximum limit: {limit}"
            raise ServiceError("LimitExceededException", message)


def _quota_of(lane: Lane, local: Local) -> Quota:
    lanes_own = Quota(lane.start_per_second, lane.get_per_second, lane.concurrent_jobs)
    return msgspec.structs.replace(lanes_own, **_overridden(local))


def _default_quota(region: str, local: Local) -> Quota:
    """AWS's own, where nobody says otherwise.

    Source: https://docs.aws.amazon.com/general/latest/gr/rekognition.html
    """
    of_gets = 20.0 if region in _REGIONS_OF_MORE_GETS else _FEWER_GETS_PER_SECOND
    return msgspec.structs.replace(Quota(5.0, of_gets, 20), **_overridden(local))


def _overridden(local: Local) -> dict[str, Any]:
    return local.quotas.model_dump(exclude_none=True)

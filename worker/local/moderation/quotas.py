"""What an account may do: a token bucket for each account, region and operation, and a number of running jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from worker.config import Lane, Local
from worker.local.accounts import account_of
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError, documented
from worker.local.state.clock import Clock

_PATIENCE_SECONDS = 10


class Quota(msgspec.Struct, frozen=True):
    """What an account may do in a region, in seconds of the service's clock. The defaults are AWS's largest regions'.

    Source: https://docs.aws.amazon.com/general/latest/gr/rekognition.html
    """

    start_per_second: float = 5.0
    get_per_second: float = 20.0
    concurrent_jobs: int = 20


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


class _Meter(msgspec.Struct, frozen=True):
    """What one account does with one operation: the calls granted to it, and all that it tried."""

    granted: TokenBucket
    attempts: TokenBucket


class Quotas:
    """The quotas of all accounts, and how far each is used."""

    def __init__(
        self, lanes: Mapping[str, Lane], local: Local, clock: Clock, share_of_others: Callable[[Caller], float]
    ) -> None:
        self._by_account = {account_of(name): _quota_of(lane, local) for name, lane in lanes.items()}
        self._by_region = {lane.region: _quota_of(lane, local) for lane in reversed(list(lanes.values()))}
        self._of_others = Quota(**_overridden(local))
        self._burst = local.quota_burst
        self._clock = clock
        self._share_of_others = share_of_others
        self._meters: dict[tuple[Caller, str], _Meter] = {}

    def of(self, caller: Caller) -> Quota:
        """The quota of the lane whose account calls, else of the first lane of the region, else AWS's default."""
        return self._by_account.get(caller.account) or self._by_region.get(caller.region) or self._of_others

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
        meter = self._meter(caller, operation, now_seconds)
        is_calm = meter.attempts.take(2 * per_second, now_seconds)
        if not meter.granted.take(per_second, now_seconds):
            raise documented("ProvisionedThroughputExceededException" if is_calm else "ThrottlingException")

    def _meter(self, caller: Caller, operation: str, now_seconds: float) -> _Meter:
        key = (caller, operation)
        if (meter := self._meters.get(key)) is None:
            patience = self._burst + _PATIENCE_SECONDS * self.calls_per_second(caller, operation)
            meter = _Meter(TokenBucket(self._burst, now_seconds), TokenBucket(patience, now_seconds))
            self._meters[key] = meter
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


def _overridden(local: Local) -> dict[str, Any]:
    return local.quotas.model_dump(exclude_none=True)

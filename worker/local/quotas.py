"""Call rates that an account may not exceed: one token bucket for each account, region and operation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from worker.config import Lane
from worker.local.accounts import account_of
from worker.local.identity import Caller
from worker.local.refusals import ServiceError


class Quota(msgspec.Struct, frozen=True):
    """What an account may do in a region. The defaults are AWS's own in its largest regions.

    Source: https://docs.aws.amazon.com/general/latest/gr/rekognition.html
    """

    start_per_second: float = 5.0
    get_per_second: float = 20.0
    concurrent_jobs: int = 20


class TokenBucket:
    """Lets `rate_per_second` calls pass on average, and at most `burst` at once after a pause."""

    __slots__ = ("_burst", "_filled_at_seconds", "_rate_per_second", "_tokens")

    def __init__(self, rate_per_second: float, burst: float, now_seconds: float) -> None:
        self._rate_per_second = rate_per_second
        self._burst = burst
        self._tokens = burst
        self._filled_at_seconds = now_seconds

    def take(self, now_seconds: float) -> bool:
        """Whether one more call may pass; a call that may not takes nothing."""
        earned = (now_seconds - self._filled_at_seconds) * self._rate_per_second
        self._tokens = min(self._burst, self._tokens + earned)
        self._filled_at_seconds = now_seconds
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Quotas:
    """The quotas of the configured lanes, and how far each is used."""

    def __init__(self, lanes: Mapping[str, Lane], burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_account = {account_of(name): _quota_of(lane) for name, lane in lanes.items()}
        self._by_region = {lane.region: _quota_of(lane) for lane in reversed(list(lanes.values()))}
        self._burst = burst
        self._clock = clock
        self._buckets: dict[tuple[Caller, str], TokenBucket] = {}

    def of(self, caller: Caller) -> Quota:
        """The quota of the lane whose account calls, else of the first lane of the region, else AWS's default."""
        return self._by_account.get(caller.account) or self._by_region.get(caller.region) or Quota()

    def admit_start(self, caller: Caller) -> None:
        """Count one StartContentModeration, or raise ProvisionedThroughputExceededException."""
        self._admit(caller, "start", self.of(caller).start_per_second)

    def admit_get(self, caller: Caller) -> None:
        """Count one GetContentModeration, or raise ProvisionedThroughputExceededException."""
        self._admit(caller, "get", self.of(caller).get_per_second)

    def _admit(self, caller: Caller, operation: str, rate_per_second: float) -> None:
        now_seconds = self._clock()
        bucket = self._buckets.get((caller, operation))
        if bucket is None:
            bucket = self._buckets[caller, operation] = TokenBucket(rate_per_second, self._burst, now_seconds)
        if not bucket.take(now_seconds):
            raise ServiceError("ProvisionedThroughputExceededException", "Provisioned Rate exceeded.")


def _quota_of(lane: Lane) -> Quota:
    return Quota(lane.start_per_second, lane.get_per_second, lane.concurrent_jobs)

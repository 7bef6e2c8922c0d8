"""What an account may do: a token bucket for each account, region and operation, and a number of running jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from worker.config import Lane, Local
from worker.local.accounts import account_of
from worker.local.clock import Clock
from worker.local.identity import Caller
from worker.local.refusals import ServiceError


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


class Quotas:
    """The quotas of all accounts, and how far each is used."""

    def __init__(self, lanes: Mapping[str, Lane], local: Local, clock: Clock) -> None:
        self._by_account = {account_of(name): _quota_of(lane, local) for name, lane in lanes.items()}
        self._by_region = {lane.region: _quota_of(lane, local) for lane in reversed(list(lanes.values()))}
        self._of_others = Quota(**_overridden(local))
        self._burst = local.quota_burst
        self._clock = clock
        self._buckets: dict[tuple[Caller, str], TokenBucket] = {}

    def of(self, caller: Caller) -> Quota:
        """The quota of the lane whose account calls, else of the first lane of the region, else AWS's default."""
        return self._by_account.get(caller.account) or self._by_region.get(caller.region) or self._of_others

    def admit_start(self, caller: Caller) -> None:
        """Count one StartContentModeration, or raise ProvisionedThroughputExceededException."""
        self._admit(caller, "start", self.of(caller).start_per_second)

    def admit_get(self, caller: Caller) -> None:
        """Count one GetContentModeration, or raise ProvisionedThroughputExceededException."""
        self._admit(caller, "get", self.of(caller).get_per_second)

    def _admit(self, caller: Caller, operation: str, rate_per_second: float) -> None:
        now_seconds = self._clock.passed_seconds()
        bucket = self._buckets.get((caller, operation))
        if bucket is None:
            bucket = self._buckets[caller, operation] = TokenBucket(self._burst, now_seconds)
        if not bucket.take(rate_per_second, now_seconds):
            raise ServiceError("ProvisionedThroughputExceededException", "Provisioned Rate exceeded.")


def _quota_of(lane: Lane, local: Local) -> Quota:
    lanes_own = Quota(lane.start_per_second, lane.get_per_second, lane.concurrent_jobs)
    return msgspec.structs.replace(lanes_own, **_overridden(local))


def _overridden(local: Local) -> dict[str, Any]:
    return local.quotas.model_dump(exclude_none=True)

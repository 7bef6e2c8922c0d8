"""How much of its quotas each account has used."""

from __future__ import annotations

from typing import Any

from worker.local.moderation.quotas import Quotas
from worker.local.protocol.identity import Caller
from worker.local.state.database import Database

_CALLS = """
SELECT account, region, operation, sum(times) FILTER (WHERE outcome NOT IN (%s)), min(first_at_ms), max(last_at_ms)
  FROM call WHERE operation = ? GROUP BY account, region, operation
"""
_REFUSED_BY_QUOTA = ("ProvisionedThroughputExceededException", "ThrottlingException")
_LEAST_SECONDS = 1.0  # a handful of calls in no time says nothing about a rate


def quotas_used(database: Database, quotas: Quotas) -> list[dict[str, Any]]:
    """For each account, region and quota: what is granted, and the share used between the first and the last use.

    `used` of calls may exceed 1 by the burst; `used` of running jobs is their average number by the quota.
    """
    return [*_calls_used(database, quotas), *_jobs_used(database, quotas)]


def _calls_used(database: Database, quotas: Quotas) -> list[dict[str, Any]]:
    used = []
    statement = _CALLS % ", ".join("?" for _ in _REFUSED_BY_QUOTA)
    for operation in ("StartContentModeration", "GetContentModeration"):
        for account, region, _, passed, first_at_ms, last_at_ms in database.read(
            statement, *_REFUSED_BY_QUOTA, operation
        ):
            per_second = quotas.calls_per_second(Caller(account=account, region=region), operation)
            seconds = max(_LEAST_SECONDS, (last_at_ms - first_at_ms) / 1000)
            share = round((passed or 0) / (per_second * seconds), 4)
            used.append(_entry(account, region, operation, per_second, share))
    return used


def _jobs_used(database: Database, quotas: Quotas) -> list[dict[str, Any]]:
    used = []
    for account, region, running, busy_ms, first_at_ms, changed_at_ms in database.read(
        "SELECT account, region, running, busy_ms, first_at_ms, changed_at_ms FROM slots"
    ):
        now_ms = database.clock.now_ms() if running else changed_at_ms
        busy_until_now_ms = busy_ms + running * (now_ms - changed_at_ms)
        limit = quotas.of(Caller(account=account, region=region)).concurrent_jobs
        share = round(busy_until_now_ms / (limit * max(1, now_ms - first_at_ms)), 4)
        used.append(_entry(account, region, "running jobs", limit, share))
    return used


def _entry(account: str, region: str, quota: str, granted: float, used: float) -> dict[str, Any]:
    return {"account": account, "region": region, "quota": quota, "granted": granted, "used": used}

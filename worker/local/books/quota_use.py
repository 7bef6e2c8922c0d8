"""How much of its quotas each account has used."""

from __future__ import annotations

from collections.abc import Iterator

from worker.local.moderation.quotas import Quotas, QuotaUse
from worker.local.protocol.identity import Caller
from worker.local.state.database import Database


def quotas_used(database: Database, quotas: Quotas) -> list[QuotaUse]:
    """Of calls, since the process began; of running jobs, their average number while any ran, since the first job."""
    return [*quotas.calls_used(), *_jobs_used(database, quotas)]


def _jobs_used(database: Database, quotas: Quotas) -> Iterator[QuotaUse]:
    now_ms = database.clock.now_ms()
    for account, region, running, busy_ms, active_ms, changed_at_ms in database.read(
        "SELECT account, region, running, busy_ms, active_ms, changed_at_ms FROM slots"
    ):
        since_change_ms = now_ms - changed_at_ms if running else 0
        limit = quotas.of(Caller(account=account, region=region)).concurrent_jobs
        most_ms = limit * max(1, active_ms + since_change_ms)
        yield QuotaUse(
            account, region, "running jobs", limit, round((busy_ms + running * since_change_ms) / most_ms, 4)
        )

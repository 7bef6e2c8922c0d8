"""Whether what the project promises is true: PostgreSQL's final state beside the ledger of the local service.

The promises: every registered video is in exactly one final state; labels are equal as multisets; an object is paid for
once, and once more for each time that AWS itself said FAILED; nothing that was paid for is unknown here; the money is
what the service billed; and `modworker verify` finds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg

from tests.system.site import Site
from tests.system.truth import jobs_at_service, paid_by, rows_in
from worker.model import FINAL_STATES
from worker.store.database import open_database
from worker.store.reports import Reports

FORGIVEN_USD = Decimal("0.000002")  # a job: the service counts minutes as floats, the books whole microdollars


async def findings(site: Site, *, registered: int, are_labels_read: bool = True) -> list[str]:
    """Everything that is wrong once all work is done; nothing is the only good answer."""
    paid = paid_by(site)
    return [
        *await _unfinished(site, registered),
        *_paid_twice(paid),
        *await _unknown_here(site, paid),
        *await _wrong_money(site, paid),
        *(await _wrong_labels(site, paid) if are_labels_read else []),
        *await _verified(site),
    ]


async def _unfinished(site: Site, registered: int) -> Iterator[str]:
    rows = await rows_in(site.database_url, "select state, count(*) as videos from video group by state")
    states = {row["state"]: row["videos"] for row in rows}
    wrong = [f"{videos} videos are {state}" for state, videos in states.items() if state not in FINAL_STATES]
    if sum(states.values()) != registered:
        wrong.append(f"{registered} videos were registered, {sum(states.values())} are there")
    return iter(wrong)


def _paid_twice(paid: list[dict[str, Any]]) -> Iterator[str]:
    starts: Counter[tuple[Any, ...]] = Counter()
    failures: Counter[tuple[Any, ...]] = Counter()
    for job in paid:
        identity = (job["bucket"], job["key"], job["version_id"], job["min_confidence"])
        starts[identity] += 1
        failures[identity] += job["status"] == "FAILED"
    for identity, times in starts.items():
        if times > 1 + failures[identity]:
            yield f"{identity} was started {times} times, of which {failures[identity]} FAILED"


async def _unknown_here(site: Site, paid: list[dict[str, Any]]) -> Iterator[str]:
    """A job that may have been bought, as `uncertain` says, is not forgotten."""
    rows = await rows_in(site.database_url, "select aws_job_id, tag, state from job")
    uncertain = {row["tag"] for row in rows if row["state"] == "uncertain"}
    here = {row["aws_job_id"] for row in rows if row["aws_job_id"]}
    here |= {job["job_id"] for job in paid if job["tag"] in uncertain}
    there = {job["job_id"] for job in paid}
    wrong = [f"job {name} was paid for and is unknown here" for name in sorted(there - here)]
    return iter(wrong + [f"job {name} is unknown to the service" for name in sorted(here - there)])


async def _wrong_money(site: Site, paid: list[dict[str, Any]]) -> Iterator[str]:
    (row,) = await rows_in(
        site.database_url,
        "select coalesce(sum(spent_usd), 0) as spent, coalesce(sum(reserved_usd), 0) as reserved from tally",
    )
    prices = await rows_in(site.database_url, "select distinct price_usd_per_minute as price from backfill")
    wrong = [f"${row['reserved']} are reserved when nothing runs"] if row["reserved"] else []
    billed = sum(Decimal(job["minutes"]) for job in paid) * (prices[0]["price"] if len(prices) == 1 else 0)
    if len(prices) == 1 and abs(row["spent"] - billed) > FORGIVEN_USD * (1 + len(paid)):
        wrong.append(f"${row['spent']} are spent, ${billed:.6f} were billed")
    return iter(wrong)


async def _wrong_labels(site: Site, paid: list[dict[str, Any]]) -> list[str]:
    """Job for job, so that the memory does not grow with the archive."""
    wrong = []
    done = await rows_in(site.database_url, "select id, aws_job_id from job where state = 'done'")
    ids = {row["aws_job_id"]: row["id"] for row in done}
    async with asyncpg.create_pool(site.database_url, min_size=1, max_size=1) as database:
        for job_id, there in jobs_at_service(site, [job for job in paid if job["job_id"] in ids]):
            here = Counter(tuple(row) for row in await database.fetch(LABELS_OF_JOB, ids[job_id]))
            if here != there:
                wrong.append(f"job {job_id} has {here.total()} labels here and {there.total()} there")
    unread = {job["job_id"] for job in paid if job["status"] == "SUCCEEDED"} - ids.keys()
    return wrong + [f"job {job_id} SUCCEEDED and is not done" for job_id in sorted(unread)]


LABELS_OF_JOB = """
select j.aws_job_id, d.timestamp_ms, l.name, l.parent_name, l.taxonomy_level, d.confidence
  from detection d join job j on j.id = d.job_id join label l on l.id = d.label_id where d.job_id = $1
"""


async def _verified(site: Site) -> list[str]:
    async with open_database(site.database_url, deployment=site.deployment, may_migrate=False, pool_size=2) as database:
        _, found = await Reports(database).verify(None)
    return found

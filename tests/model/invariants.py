"""What must hold: in every contents of the database, in every state of the world, and where nothing is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.model.actions import World
from tests.model.aws import Aws
from tests.model.books import Contents
from tests.model.scopes import Scope
from worker.model import FINAL_STATES


def broken_in(scope: Scope, world: World, contents: Contents) -> Iterator[str]:
    """Sentences about what is wrong with a state; none where all is well."""
    yield from contents.findings
    yield from _paid_twice(world.aws)
    yield from _same_generation(contents)
    yield from _not_known_to_aws(world.aws, contents)
    yield from _other_labels(world.aws, contents)
    yield from _blamed_in_vain(scope, contents)


def broken_by_spending(scope: Scope, before: Contents, after: Contents) -> Iterator[str]:
    """A decision to reserve more keeps what is spent and reserved within the budget, backfill by backfill."""
    if scope.budget_usd is None:
        return
    held_before = _held(before)
    for backfill_id, held in _held(after).items():
        if held > held_before[backfill_id] and held > Decimal(str(scope.budget_usd)):
            yield f"backfill {backfill_id} holds {held} of a budget of {scope.budget_usd} US dollars"


def is_at_its_end(scope: Scope, contents: Contents) -> bool:
    """True if every video is final, or waits for money that is not there."""
    return all(
        video["state"] in FINAL_STATES or (video["state"] == "pending" and _is_short_of_money(scope, video, contents))
        for video in contents.videos
    )


def _paid_twice(aws: Aws) -> Iterator[str]:
    """An object is paid for once, and once more for each of its jobs that AWS has failed."""
    paid = Counter(job.object for job in aws.jobs)
    failed = Counter(job.object for job in aws.jobs if job.status == "FAILED")
    for bought, starts in paid.items():
        if starts > 1 + failed[bought]:
            yield f"{bought[1]} was paid for {starts} times, and AWS failed {failed[bought]} of its jobs"


def _same_generation(contents: Contents) -> Iterator[str]:
    generations = Counter((job["identity"], job["generation"]) for job in contents.jobs)
    for (identity, generation), jobs in generations.items():
        if jobs > 1:
            yield f"identity {identity} has {jobs} jobs of generation {generation}"


def _not_known_to_aws(aws: Aws, contents: Contents) -> Iterator[str]:
    """A JobId that is recorded is AWS's own for this job."""
    for job in contents.jobs:
        if job["aws_job_id"] is not None:
            known = aws.job(job["aws_job_id"])
            if known is None or (known.tag, known.object) != (job["tag"], _object_of(job)):
                yield f"job {job['id']} has the JobId {job['aws_job_id']}, which AWS gave to another start or to none"


def _other_labels(aws: Aws, contents: Contents) -> Iterator[str]:
    """The labels of a job that is done are those that AWS has, each as often."""
    for job in contents.jobs:
        known = aws.job(job["aws_job_id"]) if job["state"] == "done" else None
        if known:
            kept = Counter(
                (d["confidence"], d["timestamp_ms"]) for d in contents.detections if d["job_id"] == job["id"]
            )
            true = Counter((d.label.confidence, d.timestamp_ms) for d in known.labels)
            if kept != true:
                yield f"job {job['id']} is done with {sorted(kept.elements())}, AWS has {sorted(true.elements())}"


def _blamed_in_vain(scope: Scope, contents: Contents) -> Iterator[str]:
    """A claim counts against its video once more for each fault at most: at some count the video is given up."""
    for video in contents.videos:
        if video["claims"] > 1 + scope.most_faults:
            yield f"{video['key']} counts as taken up {video['claims']} times, after {scope.most_faults} faults at most"


def _is_short_of_money(scope: Scope, video: dict[str, Any], contents: Contents) -> bool:
    if scope.budget_usd is None:
        return False
    held = _held(contents)[video["backfill_id"]]
    return held + Decimal(str(max(scope.claim_usd, scope.intent_usd))) > Decimal(str(scope.budget_usd))


def _held(contents: Contents) -> Counter[int]:
    held: Counter[int] = Counter()
    for tally in contents.tallies:
        held[tally["backfill_id"]] += Decimal(str(tally["spent_usd"])) + Decimal(str(tally["reserved_usd"]))
    return held


def _object_of(job: dict[str, Any]) -> tuple[str, str, str | None]:
    return job["bucket"], job["key"], job["version_id"]

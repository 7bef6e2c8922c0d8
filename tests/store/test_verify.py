"""Whether the books are true: nothing is found where they are, in every state, and each fault is found."""

from __future__ import annotations

import pytest

from tests.store.steps import Steps
from tests.store.test_retry import attached, failed_at_aws, retry, uncertain, unreadable
from worker.model import Failure
from worker.store.claims import Verdicted


async def fill(steps: Steps) -> None:
    """A backfill with a budget and videos in every state, and another one that shares some of its jobs."""
    owner, backfill = await steps.own(), await steps.backfill(budget_usd=1000.0, budget="strict")
    other = await steps.backfill("other")
    await steps.done(owner, backfill, ["done.mp4", "shared.mp4"])
    await attached(steps, owner, other, ["shared.mp4"])
    await failed_at_aws(steps, owner, backfill, ["failed.mp4", "retried.mp4"])
    await steps.execute("update video set state = 'skipped' where key = 'retried.mp4'")
    await steps.execute(
        "update tally set failed = failed - 1, skipped = skipped + 1 where backfill_id = $1", backfill.id
    )
    await retry(steps, backfill)
    await unreadable(steps, owner, backfill, ["unreadable.mp4"])
    await uncertain(steps, owner, backfill, ["uncertain.mp4"])
    (job_id,) = await steps.ready(owner, backfill, ["expired.mp4"])
    await steps.jobs.fail(Failure(job_id, "expired", "results expired", "expired"))
    await steps.register(backfill, owner, ["claimed.mp4"])
    await steps.claim(owner, backfill)
    await steps.register(backfill, owner, ["skipped.mp4"])
    (video,) = (await steps.claim(owner, backfill)).videos
    await steps.claims.settle([Verdicted(video.id, "skipped", "gone")])
    await steps.intents(owner, backfill, ["intent.mp4"])
    await steps.running(owner, backfill, ["running.mp4"])
    await steps.ready(owner, backfill, ["ready.mp4"])
    await steps.register(backfill, owner, ["pending.mp4"])


async def findings(steps: Steps) -> list[str]:
    """What a thorough look finds."""
    return (await steps.reports.verify(None, is_thorough=True))[1]


JOB = "(select job_id from video where key = '{}.mp4' limit 1)"
DONE = JOB.format("done")
AS_READY = "state = 'ready', settled_at = null, reason = null, cost_usd = 0"
MORE_LABELS = "insert into label overriding system value select id + 10, name, parent_name, 9 from label"

FAULTS = {
    "videos of a backfill that is gone": (
        "update video set backfill_id = 4711 where key = 'pending.mp4'",
        "videos of backfill 4711 and lane 1, which no tally counts",
    ),
    "a video that failed by a job that did not": (
        f"update job set state = 'uncertain' where id = {JOB.format('unreadable')}",
        "video archive/unreadable.mp4 of backfill archive is failed, its job uncertain",
    ),
    "an uncertain video of a job that failed": (
        f"update job set state = 'failed' where id = {JOB.format('uncertain')}",
        "video archive/uncertain.mp4 of backfill archive is uncertain, its job failed",
    ),
    "an expired video of a job that is ready": (
        f"update job set {AS_READY} where id = {JOB.format('expired')}",
        "video archive/expired.mp4 of backfill archive is expired, its job ready",
    ),
    "a video of a job that does not exist": (
        "update video set job_id = 4711 where key = 'expired.mp4'",
        "video archive/expired.mp4 of backfill archive is expired, its job None",
    ),
    "a job that nobody waits for": (
        "update video set job_id = null where key = 'running.mp4'",
        "(archive/running.mp4) is running, and no video is attached to it",
    ),
    "labels of nobody": (
        f"update video set job_id = {JOB.format('shared')} where key = 'done.mp4'",
        "(archive/done.mp4) is done, and no video is attached to it",
    ),
    "lanes that are allowed more than there is": (
        "update tally set allowance_usd = 1000.000001 where allowance_usd > 0",
        "the lanes are allowed $1000.000001 of the budget of $1000.000000 of backfill archive",
    ),
    "a strict budget that is exceeded": (
        "update tally set spent_usd = 1001 where allowance_usd > 0",
        "are spent or reserved of the strict $1000.000000 of backfill archive",
    ),
    "a summary with one detection too few, and another with one too many": (
        f"update job_label set detections = 3 - detections where job_id = {DONE}",
        "is not that of its rows",
    ),
    "a summary with a higher confidence": (
        f"update job_label set highest_confidence = 99 where job_id = {DONE}",
        "is not that of its rows",
    ),
    "a summary of another label": (
        f"{MORE_LABELS}; update job_label set label_id = label_id + 10 where job_id = {DONE}",
        "is not that of its rows",
    ),
}
"""What is wrong -> a change that makes it so, and how the finding begins, or what it contains."""


async def test_nothing_is_found_in_any_healthy_state(steps: Steps):
    """Pending, claimed, intended, running, ready, settled in every way, shared and retried: no finding."""
    await fill(steps)
    assert await findings(steps) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_is_found(steps: Steps, fault: str):
    """Books that are not true are told, by the video or job concerned."""
    change, finding = FAULTS[fault]
    await fill(steps)
    await steps.execute(change)
    try:
        found = await findings(steps)
    finally:
        await steps.execute("truncate video, job, job_label, detection, tally")
    assert any(finding in each for each in found), found

"""Every decision about money stands in the audit, once, with who took it; and nothing there is ever changed."""

from __future__ import annotations

import asyncpg
import pytest

from tests.store.steps import Steps
from tests.store.test_retry import lost_once
from worker import failpoints
from worker.store.audit import entries
from worker.store.registry import Lifted


async def told(steps: Steps, backfill: str | None = None) -> list[tuple[str, str, str | None]]:
    """(who, action, backfill) of the entries."""
    return [(entry.who, entry.action, entry.backfill) for entry in await entries(steps.database, backfill)]


async def test_registration_is_written_down_with_its_terms(steps: Steps):
    """The first opening of a backfill tells price, budget and rule; opening it again tells nothing."""
    for _ in range(2):
        await steps.backfill(budget_usd=50.0, budget="strict", price_usd_per_minute=0.12)
    (entry,) = await entries(steps.database, None)
    assert (entry.who, entry.action, entry.backfill) == ("an operator", "register", "archive")
    assert entry.detail == {
        "price_usd_per_minute": 0.12,
        "budget_usd": 50.0,
        "budget_rule": "strict",
        "max_generations": 2,
        "edition": "",
    }


async def test_steering_is_written_down_once(steps: Steps):
    """Pausing, cancelling and resuming are told when they change something, with reasons, in the order of time."""
    await steps.backfill()
    for _ in range(2):
        assert await steps.registry.pause("archive", "by hand", who="ann")
    for _ in range(2):
        assert await steps.registry.cancel("archive", who="bob")
    assert await steps.registry.resume("archive", who="cid") == Lifted("by hand", was_cancelled=True)
    assert await steps.registry.resume("archive", who="cid") == Lifted(None, was_cancelled=False)
    assert (await told(steps))[1:] == [
        ("ann", "pause", "archive"),
        ("bob", "cancel", "archive"),
        ("cid", "resume", "archive"),
    ]
    *_, pause, _, resume = await entries(steps.database, None)
    assert pause.detail == {"reason": "by hand"}
    assert resume.detail == {"paused": "by hand", "cancelled": True}
    assert await steps.registry.cancel("no such") is False


async def test_cancelled_backfill_is_steered_by_marks_alone(steps: Steps):
    """No video is changed: readers see the pending ones as skipped, and as pending again once it was resumed."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4"])
    await steps.register(backfill, owner, ["b.mp4", "c.mp4"])
    await steps.registry.cancel(backfill.name)
    assert await steps.states(backfill) == ["done", "pending", "pending"]
    seen = "select state, reason, count(*) from video_status group by 1, 2 order by 1"
    assert await steps.rows(seen) == [("done", None, 1), ("skipped", "cancelled", 2)]
    progress = await steps.registry.progress(backfill.name)
    assert (progress.left, progress.videos["skipped"], progress.videos["pending"]) == (0, 2, 0)
    await steps.registry.resume(backfill.name)
    assert await steps.rows(seen) == [("done", None, 1), ("pending", None, 2)]


async def test_entries_of_one_backfill(steps: Steps):
    """A name shows the decisions about it alone; others are added through one function."""
    await steps.backfill("one")
    await steps.backfill("other")
    await steps.registry.audit("modworker", "pause", "one", {"reason": "mass failure"})
    await steps.registry.audit("ann", "restored database accepted")
    assert await told(steps, "one") == [("an operator", "register", "one"), ("modworker", "pause", "one")]
    assert (await told(steps))[-1] == ("ann", "restored database accepted", None)


@pytest.mark.parametrize(
    "change", ["update audit set who = 'nobody'", "delete from audit", "delete from audit where false"]
)
async def test_audit_is_append_only(steps: Steps, change: str):
    """The database refuses to change or remove an entry, whoever asks."""
    await steps.backfill()
    with pytest.raises(asyncpg.RaiseError, match="audit is append-only"):
        await steps.execute(change)
    assert len(await told(steps)) == 1


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("commit", ["pause_backfill", "cancel_backfill", "resume_backfill", "open_backfill"])
async def test_lost_answer_of_a_commit_decides_once(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, commit: str, side: str
):
    """A decision whose commit has to be done again stands in the audit once."""
    monkeypatch.setitem(failpoints._armed, f"{commit}: {side}", lost_once())
    await steps.backfill()
    await steps.registry.pause("archive", "by hand")
    await steps.registry.cancel("archive")
    await steps.registry.resume("archive")
    assert [action for _, action, _ in await told(steps)] == ["register", "pause", "cancel", "resume"]

"""What steering commands say, and `audit`: the decisions in the order of time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from worker.display.figures import aligned, counted, legible, usd
from worker.store.audit import Entry
from worker.store.purge import Purged
from worker.store.registry import Lifted, Progress
from worker.store.retries import Outlook

_HEAD = ["when (UTC)", "who", "what", "backfill", "detail"]


def decisions(entries: Sequence[Entry]) -> str:
    """Entries of the audit as a table."""
    if not entries:
        return "no decision is written down"
    return aligned([_HEAD, *map(_decision, entries)])


def cancelled(name: str, progress: Progress) -> str:
    """What cancelling came to."""
    return (
        f"backfill {name} is cancelled: {counted(progress.pending, 'pending video')} skipped, "
        f"{progress.active:,} active to be finished; `modworker resume` lets it go on"
    )


def resumed(name: str, lifted: Lifted) -> str:
    """What a backfill goes on from."""
    was = [f"paused ({lifted.pause_reason})"] if lifted.pause_reason is not None else []
    was += ["cancelled"] if lifted.was_cancelled else []
    return f"backfill {name} goes on" + (f"; it was {' and '.join(was)}" if was else "")


def retried(name: str, outlook: Outlook, waiting: int) -> str:
    """What a retry did."""
    if not waiting:
        but = " that cannot have been paid already" if outlook.repay else ""
        return f"backfill {name}: nothing to try again{but}"
    read = f"; {counted(outlook.read, 'result')} read again for nothing" if outlook.read else ""
    return f"backfill {name}: {counted(waiting, 'video')} tried again{read}"


def held_up(name: str, progress: Progress) -> str:
    """Why what waits is not worked on, and what changes that."""
    how = "cancelled" if progress.is_cancelled else "paused"
    return f"backfill {name} is {how}; `modworker resume {shlex.quote(name)}` lets it go on"


def repay_ahead(outlook: Outlook) -> str:
    """What is about to be bought, perhaps for the second time."""
    return f"{_may_have_been_paid(outlook)}; buying them again costs about {usd(outlook.repay_usd)}"


def repay_left(name: str, outlook: Outlook, *, with_skipped: bool) -> str:
    """What only an operator's word buys again, and the command that gives it."""
    options = "--accept-repay" + (" --skipped" if with_skipped else "")
    return f"{repay_ahead(outlook)}: `modworker retry {shlex.quote(name)} {options}`"


def purged(name: str, gone: Purged) -> str:
    """What a purge removed."""
    stay = f"; {counted(gone.shared, 'job')} that other backfills share {'stays' if gone.shared == 1 else 'stay'}"
    return (
        f"backfill {name} is purged: {counted(gone.videos, 'video')}, {counted(gone.jobs, 'job')} "
        f"and {counted(gone.labels, 'label')} removed{stay if gone.shared else ''}"
    )


def _may_have_been_paid(outlook: Outlook) -> str:
    return f"{counted(outlook.repay, 'video')} may have been paid already"


def _decision(entry: Entry) -> list[str]:
    when = f"{entry.at:%Y-%m-%d %H:%M:%S}"
    return [when, legible(entry.who), entry.action, legible(entry.backfill or ""), legible(_detail(entry.detail))]


def _detail(detail: Mapping[str, Any]) -> str:
    """What is known of a decision; what is not set is left out, yes and no are told by the key alone."""
    told = {key: value for key, value in detail.items() if value not in (None, "") and value is not False}
    return ", ".join(key if value is True else f"{key} {value}" for key, value in told.items())

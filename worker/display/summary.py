"""What a registration or a whole backfill came to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.aws.rekognition import GET, START
from worker.display.figures import counted, duration, tallied, usd
from worker.errors import Verdict, verdict_on
from worker.export import Exported
from worker.pipeline.discover import Discovered
from worker.store.registry import Progress

Calls = Mapping[tuple[str, str, str], int]
"""(lane, operation, outcome) -> calls."""


def discovered(name: str, found: Discovered, *, is_dry_run: bool) -> str:
    """What a registration brought, in one sentence."""
    if is_dry_run:
        sentence = f"backfill {name}: the sources name {counted(found.named, 'video')}; nothing is registered"
    else:
        sentence = f"backfill {name}: {counted(found.added, 'video')} registered, {found.known:,} known already"
    left_out = f", {found.left_out:,} left out by the filters" if found.left_out else ""
    return sentence + left_out + (f", {counted(found.bad_rows, 'bad row')} skipped" if found.bad_rows else "")


def exported(names: Sequence[str], done: Exported, file: Path | None) -> str:
    """What an export wrote, and what the next one is to begin with."""
    backfills = f"{'backfills' if len(names) > 1 else 'backfill'} {', '.join(names)}"
    return (
        f"{backfills}: {counted(done.labels, 'label')} written to {file or 'standard output'}; "
        f"what settles later is had with --since {done.goes_on_at:%Y-%m-%dT%H:%M:%SZ}"
    )


def summary(
    name: str, progress: Progress, calls: Calls, seconds: float, config_file: Path, *, example: str | None
) -> str:
    """What a backfill came to, and three commands to try next; `example` is a BUCKET/KEY of it."""
    states = tallied(progress.videos)
    called = ", ".join(f"{_count(calls, operation):,} {operation}" for operation in (START, GET))
    options = f"--config {shlex.quote(str(config_file))}"
    video = shlex.quote(example) if example and example.isprintable() else "BUCKET/KEY"
    return "\n".join(
        [
            f"backfill {name}",
            f"  videos  {progress.total:,}",
            *(f"          {line}" for line in states),
            f"  labels  {progress.labels:,}",
            f"  calls   {called}",
            f"          in this run, {_throttled(calls):,} of them throttled",
            f"  cost    {usd(progress.spent_usd)}",
            f"  time    {duration(seconds)}",
            "next:",
            f"  modworker status {options}",
            f"  modworker verify {options}",
            f"  modworker labels {options} {video}",
        ]
    )


def _count(calls: Calls, operation: str) -> int:
    return sum(count for (_, called, _), count in calls.items() if called == operation)


def _throttled(calls: Calls) -> int:
    return sum(count for (_, _, outcome), count in calls.items() if verdict_on(outcome, 0) is Verdict.SLOW_DOWN)

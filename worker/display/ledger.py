"""The local service's ledger as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.display.figures import aligned

_COUNT = ","
_JOBS = {
    "paid_jobs": ("paid", _COUNT),
    "minutes": ("minutes billed", ",.1f"),
    "replays": ("starts repeated under their token, for nothing", _COUNT),
}
"""What a run adds to: name in the ledger -> (label, format)."""
_NOW = {"running": "still running", "most_running": "most that ever ran at once"}


def ledger(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What a service was paid for and asked, in the run that ends and in all.

    Both are what `GET /_ledger?summary=1` tells, at the run's start and at its end.
    """
    return "\n\n".join(
        [
            _table(["jobs", "in this run", "in all"], _jobs(before, after)),
            _table(["calls", "outcome", "in this run", "in all"], _calls(before, after)),
            _table(["account", "region", "quota", "granted", "used"], _quotas(after)),
        ]
    )


def _table(head: Sequence[str], rows: Iterable[list[str]]) -> str:
    return aligned([head, *rows], right=range(len(head) - 2, len(head)))


def _jobs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[list[str]]:
    counted = [
        [label, format(after[name] - before[name], form), format(after[name], form)]
        for name, (label, form) in _JOBS.items()
    ]
    return counted + [[label, "", format(after[name], _COUNT)] for name, label in _NOW.items()]


def _calls(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            operation,
            outcome,
            format(times - _earlier(before, operation, outcome), _COUNT),
            format(times, _COUNT),
        ]
        for operation, outcomes in after["calls"].items()
        for outcome, times in outcomes.items()
    ]


def _earlier(before: Mapping[str, Any], operation: str, outcome: str) -> int:
    """Calls of that outcome when the run began."""
    return int(before["calls"].get(operation, {}).get(outcome, 0))


def _quotas(after: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            use.account,
            use.region,
            use.quota,
            f"{use.granted:,g}{'' if use.quota == 'running jobs' else ' a second'}",
            f"{use.used:.1%}",
        ]
        for use in after["quotas"]
    ]

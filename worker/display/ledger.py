"""The local service's ledger as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.display.figures import aligned


def ledger(summary: Mapping[str, Any]) -> str:
    """What a service that ends has been paid for and asked; `summary` is that of `GET /_ledger?summary=1`."""
    return "\n\n".join(
        [
            _table(["jobs", ""], _jobs(summary)),
            _table(["calls", "outcome", "times"], _calls(summary)),
            _table(["account", "region", "quota", "granted", "used"], _quotas(summary)),
        ]
    )


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    return aligned([head, *rows], right=range(len(head) - 1, len(head)))


def _jobs(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["paid", f"{summary['paid_jobs']:,}"]
    yield ["minutes billed", f"{summary['minutes']:,.1f}"]
    yield ["starts repeated under their token, for nothing", f"{summary['replays']:,}"]
    yield ["still running", f"{summary['running']:,}"]
    yield ["most that ran at once", f"{summary['most_running']:,}"]


def _calls(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for operation, outcomes in summary["calls"].items():
        for outcome, times in outcomes.items():
            yield [operation, outcome, f"{times:,}"]


def _quotas(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for quota in summary["quotas"]:
        is_rate = quota["quota"] != "running jobs"
        granted = f"{quota['granted']:,g}{' a second' if is_rate else ''}"
        yield [quota["account"], quota["region"], quota["quota"], granted, f"{quota['used']:.1%}"]

"""What went on lately: rates of the last hour, for the charts. Kept in memory, since a restart may forget it."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from worker.model import FINAL_STATES

LONGEST_SECONDS = 3600.0
OF_LANE = ("starts", "start_pace", "start_quota", "gets", "get_pace", "get_quota", "jobs", "jobs_limit", "throttled")
OF_BACKFILL = ("videos", "labels", "usd")
_COUNTED = ("starts", "gets", "throttled")
STALE_SECONDS = 60.0  # a lane that told nothing for so long makes no calls

_Row: TypeAlias = "Mapping[str, array[float]]"


class Sample(Struct, frozen=True):
    """At one time (seconds since 1970), the values named by OF_LANE and OF_BACKFILL, all of them for a second."""

    at: float
    lanes: _Row
    backfills: _Row


class History:
    """Turns counts that only grow into rates; one sample for each `record`."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._lanes: Mapping[str, Mapping[str, Any]] = {}
        self._backfills: Mapping[str, Mapping[str, Any]] = {}
        self._recorded_at = 0.0

    def record(self, at: float, backfills: Sequence[Mapping[str, Any]], lanes: Sequence[Mapping[str, Any]]) -> None:
        """Take note of the tallies and of what the lanes' owners told."""
        now_lanes = {lane["name"]: lane for lane in lanes}
        now_backfills = {backfill["name"]: backfill for backfill in backfills}
        if self._recorded_at:
            seconds = max(at - self._recorded_at, 0.001)
            last = self._samples[-1].lanes if self._samples else {}
            lane_rates = {
                name: _lane_rates(self._lanes.get(name), lane, last.get(name), at) for name, lane in now_lanes.items()
            }
            backfill_rates = {
                name: _backfill_rates(before, backfill, seconds)
                for name, backfill in now_backfills.items()
                if (before := self._backfills.get(name)) and _is_moving(before, backfill)
            }
            self._samples.append(Sample(at, lane_rates, backfill_rates))
            while self._samples[0].at < at - LONGEST_SECONDS:
                self._samples.popleft()
        self._lanes, self._backfills, self._recorded_at = now_lanes, now_backfills, at

    def since(self, after: float) -> dict[str, Any]:
        """The samples after a time in columns, None where a lane or backfill has no value."""
        samples = [sample for sample in self._samples if sample.at > after]
        return {
            "at": [round(sample.at, 1) for sample in samples],
            "lanes": _columns([sample.lanes for sample in samples], OF_LANE),
            "backfills": _columns([sample.backfills for sample in samples], OF_BACKFILL),
        }


def _columns(rows: Sequence[_Row], names: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    owners = sorted({owner for row in rows for owner in row})
    return {
        owner: {name: [_value(row.get(owner), i) for row in rows] for i, name in enumerate(names)} for owner in owners
    }


def _value(values: array[float] | None, index: int) -> float | None:
    return None if values is None else round(values[index], 4)


def _lane_rates(
    before: Mapping[str, Any] | None, lane: Mapping[str, Any], last: array[float] | None, at: float
) -> array[float]:
    rates = _counted(before, lane, last, at)
    values = {
        **{name: rates.get(name, 0.0) for name in _COUNTED},
        "start_pace": lane.get("start_per_second", 0.0),
        "start_quota": lane.get("start_per_second_quota", 0.0),
        "get_pace": lane.get("get_per_second", 0.0),
        "get_quota": lane.get("get_per_second_quota", 0.0),
        "jobs": lane.get("slots_used", 0) if lane["owner"] else 0,
        "jobs_limit": lane.get("concurrent_jobs", 0),
    }
    return array("d", (values[name] for name in OF_LANE))


def _counted(
    before: Mapping[str, Any] | None, lane: Mapping[str, Any], last: array[float] | None, at: float
) -> Mapping[str, float]:
    """What the owner counted between its two latest reports; the last rates go on until the next report comes."""
    is_silent = lane["owner"] is None or at - lane.get("at", 0.0) > STALE_SECONDS
    if is_silent or before is None or before["epoch"] != lane["epoch"] or "at" not in before:
        return {}
    if (seconds := lane["at"] - before["at"]) <= 0:
        return dict(zip(OF_LANE, last, strict=True)) if last else {}
    return {name: max(lane[name] - before[name], 0) / seconds for name in _COUNTED}


def _backfill_rates(before: Mapping[str, Any], backfill: Mapping[str, Any], seconds: float) -> array[float]:
    changes = (
        _final(backfill) - _final(before),
        backfill["labels"] - before["labels"],
        backfill["spent_usd"] - before["spent_usd"],
    )
    return array("d", (max(change, 0) / seconds for change in changes))


def _is_moving(before: Mapping[str, Any], backfill: Mapping[str, Any]) -> bool:
    """False for one that is over: thousands of those cost nothing here."""
    return bool(backfill["videos"]["pending"] + backfill["videos"]["active"]) or _final(before) != _final(backfill)


def _final(backfill: Mapping[str, Any]) -> int:
    return sum(backfill["videos"][state] for state in FINAL_STATES)

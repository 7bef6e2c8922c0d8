"""`labels`: what became of one video, and its labels in the order of their appearance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.display.figures import clock, counted, legible, usd

BAR_SYMBOLS = 20  # of 100 percent


def timeline(bucket: str, key: str, states: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> str:
    """`states` are rows of `video_status`, `labels` rows of `moderation_labels`."""
    heads = [f"{legible(f'{bucket}/{key}')}", *map(_state, states)]
    return "\n".join([*heads, "", *(map(_label, labels) if labels else ["no labels"])])


def _state(state: Mapping[str, Any]) -> str:
    sentence = f"  backfill {legible(state['backfill'])}: {state['state']}"
    if state["state"] == "done":
        length = clock(state["duration_ms"])
        return f"{sentence}, {counted(state['labels'], 'label')} in {length}, {usd(state['cost_usd'])}"
    return f"{sentence} ({legible(state['reason'])})" if state["reason"] else sentence


def _label(label: Mapping[str, Any]) -> str:
    """When, how sure, and what; the deeper in the taxonomy, the further to the right."""
    bar = "█" * round(label["confidence"] / 100 * BAR_SYMBOLS)
    depth = (label["taxonomy_level"] or 1) - 1
    return f"{_when(label)}  {bar:<{BAR_SYMBOLS}} {label['confidence']:5.1f}%  {'  ' * depth}{legible(label['name'])}"


def _when(label: Mapping[str, Any]) -> str:
    """The moment, or from when to when."""
    if label["end_ms"] is None:
        return clock(label["timestamp_ms"])
    return f"{clock(label['start_ms'])} to {clock(label['end_ms'])}"

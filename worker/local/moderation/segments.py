"""The SEGMENTS view of an analysis: a label that is seen in consecutive samples is one entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from worker.local.analysts.analysis import Analysis

_SAMPLE_MS = 500  # where the analysis does not name its samples


def segments(analysis: Analysis) -> list[dict[str, Any]]:
    """Entries of the SEGMENTS view, in the order of start, then name.

    A segment begins at the first of consecutive samples that show the label and ends where the next one does not, or
    with the video. Its confidence is the highest.
    """
    duration_ms = (analysis.metadata or {}).get("DurationMillis", 0)
    ends_ms = _ends(_samples(analysis, duration_ms), duration_ms)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for label in analysis.labels:
        by_name.setdefault(label["ModerationLabel"]["Name"], []).append(label)
    found = [_segment(run, ends_ms) for same in by_name.values() for run in _runs(same, ends_ms)]
    return sorted(found, key=lambda entry: (entry["Timestamp"], entry["ModerationLabel"]["Name"]))


def _samples(analysis: Analysis, duration_ms: int) -> Sequence[int]:
    if analysis.samples_ms is not None:
        return analysis.samples_ms
    return range(0, max(duration_ms, _SAMPLE_MS), _SAMPLE_MS)


def _ends(samples_ms: Sequence[int], duration_ms: int) -> dict[int, int]:
    """Until when each sample stands for what is seen, by its time: until the next one."""
    ends_ms = dict(pairwise(samples_ms))
    if samples_ms:
        ends_ms[samples_ms[-1]] = max(samples_ms[-1], duration_ms)
    return ends_ms


def _runs(labels: list[dict[str, Any]], ends_ms: dict[int, int]) -> Iterator[list[dict[str, Any]]]:
    run = [labels[0]]
    for label in labels[1:]:
        if label["Timestamp"] != ends_ms[run[-1]["Timestamp"]]:
            yield run
            run = []
        run.append(label)
    yield run


def _segment(run: list[dict[str, Any]], ends_ms: dict[int, int]) -> dict[str, Any]:
    strongest = max(run, key=lambda label: label["ModerationLabel"]["Confidence"])
    start_ms, end_ms = run[0]["Timestamp"], ends_ms[run[-1]["Timestamp"]]
    return {
        "Timestamp": start_ms,
        "StartTimestampMillis": start_ms,
        "EndTimestampMillis": end_ms,
        "DurationMillis": end_ms - start_ms,
        "ModerationLabel": strongest["ModerationLabel"],
        "ContentTypes": strongest.get("ContentTypes", []),
    }

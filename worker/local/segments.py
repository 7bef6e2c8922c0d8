"""The SEGMENTS view of an analysis: a label that is seen in consecutive samples is one entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SAMPLE_MS = 500
_LARGEST_GAP_MS = _SAMPLE_MS * 3 // 2  # between two consecutive samples, whose times are those of frames


def segments(labels: list[dict[str, Any]], duration_ms: int) -> list[dict[str, Any]]:
    """Entries of the TIMESTAMPS view, in the order of time -> entries of the SEGMENTS view, in the order of start.

    A segment lasts from its first sample to the end of its last one, and has its highest confidence.
    """
    by_name: dict[str, list[dict[str, Any]]] = {}
    for label in labels:
        by_name.setdefault(label["ModerationLabel"]["Name"], []).append(label)
    found = [_segment(run, duration_ms) for same in by_name.values() for run in _runs(same)]
    return sorted(found, key=lambda entry: (entry["Timestamp"], entry["ModerationLabel"]["Name"]))


def _runs(labels: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    run = [labels[0]]
    for label in labels[1:]:
        if label["Timestamp"] - run[-1]["Timestamp"] > _LARGEST_GAP_MS:
            yield run
            run = []
        run.append(label)
    yield run


def _segment(run: list[dict[str, Any]], duration_ms: int) -> dict[str, Any]:
    strongest = max(run, key=lambda label: label["ModerationLabel"]["Confidence"])
    start_ms = run[0]["Timestamp"]
    end_ms = max(start_ms, min(duration_ms, run[-1]["Timestamp"] + _SAMPLE_MS))
    return {
        "Timestamp": start_ms,
        "StartTimestampMillis": start_ms,
        "EndTimestampMillis": end_ms,
        "DurationMillis": end_ms - start_ms,
        "ModerationLabel": strongest["ModerationLabel"],
        "ContentTypes": strongest.get("ContentTypes", []),
    }

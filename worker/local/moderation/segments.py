"""The SEGMENTS view of an analysis: a label that is seen in consecutive samples is one entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from worker.local.analysts.analysis import Analysis, ContentType, Entry, ModerationLabel

_SAMPLE_MS = 500  # where the analysis does not name its samples


class Segment(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """An entry of ModerationLabels in the SEGMENTS view."""

    timestamp: int
    start_timestamp_millis: int
    end_timestamp_millis: int
    duration_millis: int
    moderation_label: ModerationLabel
    content_types: tuple[ContentType, ...]


def segments(analysis: Analysis) -> list[Segment]:
    """Entries of the SEGMENTS view, in the order of start, then name.

    A segment begins at the first of consecutive samples that show the label and ends where the next one does not, or
    with the video. Its confidence is the highest.
    """
    duration_ms = (analysis.metadata or {}).get("DurationMillis", 0)
    ends_ms = _ends(_samples(analysis, duration_ms), duration_ms)
    by_name: dict[str, list[Entry]] = {}
    for label in analysis.labels:
        by_name.setdefault(label.moderation_label.name, []).append(label)
    found = [_segment(run, ends_ms) for same in by_name.values() for run in _runs(same, ends_ms)]
    return sorted(found, key=lambda entry: (entry.timestamp, entry.moderation_label.name))


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


def _runs(labels: list[Entry], ends_ms: dict[int, int]) -> Iterator[list[Entry]]:
    run = [labels[0]]
    for label in labels[1:]:
        if label.timestamp != ends_ms[run[-1].timestamp]:
            yield run
            run = []
        run.append(label)
    yield run


def _segment(run: list[Entry], ends_ms: dict[int, int]) -> Segment:
    strongest = max(run, key=lambda label: label.moderation_label.confidence)
    start_ms, end_ms = run[0].timestamp, ends_ms[run[-1].timestamp]
    return Segment(
        timestamp=start_ms,
        start_timestamp_millis=start_ms,
        end_timestamp_millis=end_ms,
        duration_millis=end_ms - start_ms,
        moderation_label=strongest.moderation_label,
        content_types=strongest.content_types,
    )

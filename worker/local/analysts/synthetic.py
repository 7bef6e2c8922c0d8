"""Makes up the analysis of a video from its name: for load, tests and rehearsals.

Everything follows from (seed, bucket, key), so that nothing has to be stored and every machine finds the same; in the
bucket of edge cases, whose keys promise what a video is, from the version as well. The archive's regional buckets hold
the videos of the archive.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.analysts.bucket_names import ARCHIVE_BUCKET, EDGE_CASES_BUCKET, region_of_archive
from worker.local.analysts.edge_cases import EdgeCase, edge_case
from worker.local.analysts.taxonomy import TAXONOMY, Label

SAMPLE_MS = 500  # Rekognition looks at about two frames a second
FAILURE = "Unsupported codec/format."

_SHORTEST_MS, _LONGEST_MS = 5_000, 600_000
_MEDIAN_DURATION_MS = 60_000
_MEDIAN_ENTRIES, _MOST_ENTRIES = 250, 3_000
_ENTRIES_PER_SAMPLE = 5  # a video is made long enough to hold its entries
_COUNTS_AT_PAGE_ENDS = {0: 0, 3: 1, 6: 999, 9: 1000, 12: 1001, 15: 2503}
_CYCLE = 20  # of every 20 videos in a row, one has each of the counts above
_FAILURE_SHARE = 1 / 140  # of the other 14 in 20: 1 in 200 of all
_ANIMATED_SHARE = 1 / 12
_LONGEST_SCENE_SAMPLES = 12
_CONFIDENCE_STEPS = 2**17  # steps of 1: what a float32 resolves between 64 and 128
_ORDINAL = re.compile(r"\d{6,}")
_FRAMES = ((1920, 1080), (1280, 720), (854, 480), (1080, 1920))
_FRAME_RATES = (25.0, 30.0, 29.97002983093262, 23.976024627685547)
_LABELS = tuple(sorted(TAXONOMY, key=lambda label: label.name))  # labels are known by their place in here
_TOP_LABELS = tuple(place for place, label in enumerate(_LABELS) if label.level == 1)


def _lineages() -> Iterator[tuple[int, ...]]:
    """Each label followed by its parent and grandparent."""
    places = {label.name: place for place, label in enumerate(_LABELS)}
    for label in TAXONOMY:
        lineage = [places[label.name]]
        while parent := _LABELS[lineage[-1]].parent:
            lineage.append(places[parent])
        yield tuple(lineage)


_LINEAGES = tuple(_lineages())
_LONGEST_LINEAGE = max(len(lineage) for lineage in _LINEAGES)


class _Plan(msgspec.Struct, frozen=True):
    """What a video is to be: `draw` goes on where the plan left off."""

    entries: int
    duration_ms: int
    fails: bool
    draw: random.Random


class SyntheticAnalyst:
    """An analyst that makes up what it sees."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def duration_ms(self, video: StoredVideo) -> int:
        """5 s to 10 min, most of them about a minute; up to six hours and more in the bucket of edge cases."""
        return self._plan(video).duration_ms

    def duration_ms_of(self, bucket: str, key: str) -> int:
        """The same, for a listing."""
        return self._drawn_plan(bucket, key).duration_ms

    def failure(self, video: StoredVideo) -> str | None:
        """The failure that `analyse` would report, at a small part of its cost."""
        return FAILURE if self._plan(video).fails else None

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:
        """Entries at multiples of 500 ms, each label together with its parents and with their confidence."""
        plan = self._plan(video)
        if plan.fails:
            return Analysis(failure=FAILURE, metadata=None, labels=[])
        metadata = _metadata(plan)
        content_types = _content_types(plan.draw)
        labels = [
            _entry(sample * SAMPLE_MS, _LABELS[place], confidence, content_types)
            for (sample, place), confidence in sorted(_seen(plan).items())
            if confidence >= min_confidence
        ]
        return Analysis(failure=None, metadata=metadata, labels=labels)

    def _plan(self, video: StoredVideo) -> _Plan:
        if case := edge_case(video.bucket, video.key, video.version_id):
            return self._promised_plan(case)
        bucket = ARCHIVE_BUCKET if region_of_archive(video.bucket) else video.bucket
        return self._drawn_plan(bucket, video.key)

    def _promised_plan(self, case: EdgeCase) -> _Plan:
        return _Plan(case.entries, case.duration_ms, case.fails, self._draw(EDGE_CASES_BUCKET, case.version_id))

    def _drawn_plan(self, bucket: str, key: str) -> _Plan:
        draw = self._draw(bucket, key)
        numbers = _ORDINAL.findall(key)
        ordinal = int(numbers[-1]) if numbers else draw.getrandbits(32)
        entries = _COUNTS_AT_PAGE_ENDS.get((ordinal + self._seed) % _CYCLE)
        fails = entries is None and draw.random() < _FAILURE_SHARE
        if entries is None:
            entries = min(_MOST_ENTRIES, round(_MEDIAN_ENTRIES * draw.lognormvariate(0.0, 0.9)))
        needed_ms = -(-entries // _ENTRIES_PER_SAMPLE) * SAMPLE_MS
        drawn_ms = round(_MEDIAN_DURATION_MS * draw.lognormvariate(0.0, 0.9))
        return _Plan(entries, min(_LONGEST_MS, max(_SHORTEST_MS, needed_ms, drawn_ms)), fails, draw)

    def _draw(self, bucket: str, key: str) -> random.Random:
        digest = hashlib.blake2b(f"{self._seed}\0{bucket}\0{key}".encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest))


def _seen(plan: _Plan) -> dict[tuple[int, int], float]:
    """(sample, label) -> confidence: scenes of one lineage each, until exactly the planned entries are there."""
    seen: dict[tuple[int, int], float] = {}
    samples = -(-plan.duration_ms // SAMPLE_MS)
    while plan.entries - len(seen) >= _LONGEST_LINEAGE:
        _add_scene(seen, plan, samples)
    _fill_up(seen, plan, samples)
    return seen


def _add_scene(seen: dict[tuple[int, int], float], plan: _Plan, samples: int) -> None:
    draw = plan.draw
    lineage = _LINEAGES[int(draw.random() * len(_LINEAGES))]
    first = int(draw.random() * samples)
    for sample in range(first, min(samples, first + 1 + int(draw.random() * _LONGEST_SCENE_SAMPLES))):
        if plan.entries - len(seen) < len(lineage):
            return
        confidence = _confidence(draw)
        for label in lineage:
            seen[sample, label] = max(confidence, seen.get((sample, label), 0.0))


def _fill_up(seen: dict[tuple[int, int], float], plan: _Plan, samples: int) -> None:
    """Add labels of the top level, which need no parents, for the last one or two entries."""
    places = ((sample, label) for sample in range(samples) for label in _TOP_LABELS if (sample, label) not in seen)
    while len(seen) < plan.entries:
        seen[next(places)] = _confidence(plan.draw)


def _confidence(draw: random.Random) -> float:
    """50 to 100, and a float32 like AWS's."""
    return 50 + int(draw.random() * 50 * _CONFIDENCE_STEPS) / _CONFIDENCE_STEPS


def _content_types(draw: random.Random) -> list[dict[str, Any]]:
    if draw.random() >= _ANIMATED_SHARE:
        return []
    return [{"Confidence": _confidence(draw), "Name": draw.choice(("Animated", "Illustrated"))}]


def _metadata(plan: _Plan) -> dict[str, Any]:
    width, height = plan.draw.choice(_FRAMES)
    return {
        "Codec": "h264",
        "DurationMillis": plan.duration_ms,
        "Format": "QuickTime / MOV",
        "FrameRate": plan.draw.choice(_FRAME_RATES),
        "FrameHeight": height,
        "FrameWidth": width,
        "ColorRange": "LIMITED",
    }


def _entry(timestamp_ms: int, label: Label, confidence: float, content_types: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "Timestamp": timestamp_ms,
        "ModerationLabel": {
            "Confidence": confidence,
            "Name": label.name,
            "ParentName": label.parent,
            "TaxonomyLevel": label.level,
        },
        "ContentTypes": content_types,
    }

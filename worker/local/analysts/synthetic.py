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
from functools import lru_cache
from typing import Any

import msgspec

from worker.local.analysts.analysis import Analysis, ContentType, Entry, ModerationLabel, StoredVideo
from worker.local.analysts.bucket_names import ARCHIVE_BUCKET, EDGE_CASES_BUCKET, region_of_archive
from worker.local.analysts.edge_cases import EdgeCase, edge_case
from worker.local.analysts.taxonomy import TAXONOMY

SAMPLE_MS = 500  # Rekognition looks at about two frames a second
FAILURE = "Unsupported codec/format."

_SHORTEST_MS, _LONGEST_MS = 5_000, 600_000
_MEDIAN_DURATION_MS = 60_000
_MEDIAN_ENTRIES, _MOST_ENTRIES = 250, 3_000
_ENTRIES_PER_SAMPLE = 5  # a video is made long enough to hold its entries
_OUTLINES = 4096  # that are kept
_COUNTS_AT_PAGE_ENDS = {0: 0, 3: 1, 6: 999, 9: 1000, 12: 1001, 15: 2503}
_CYCLE = 20  # of every 20 videos in a row, one has each of the counts above
_FAILURE_SHARE = 1 / 140  # of the other 14 in 20: 1 in 200 of all
_ANIMATED_SHARE = 1 / 12
_LONGEST_SCENE_SAMPLES = 12
_CONFIDENCE_STEPS = 2**17  # steps of 1: what a float32 resolves between 64 and 128
_CONFIDENCES = 50 * _CONFIDENCE_STEPS
_ORDINAL = re.compile(r"\d{6,}")
_FRAMES = ((1920, 1080), (1280, 720), (854, 480), (1080, 1920))
_FRAME_RATES = (25.0, 30.0, 29.97002983093262, 23.976024627685547)
_LABELS = tuple(sorted(TAXONOMY, key=lambda label: label.name))  # labels are known by their place in here
_NAMED = tuple((label.name, label.parent, label.level) for label in _LABELS)
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


class _Outline(msgspec.Struct, frozen=True):
    """What is asked of a video again and again, while its job is started and ended."""

    duration_ms: int
    fails: bool


class SyntheticAnalyst:
    """An analyst that makes up what it sees."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def duration_ms(self, video: StoredVideo) -> int:
        """5 s to 10 min, most of them about a minute; up to six hours and more in the bucket of edge cases."""
        return self._outline(video).duration_ms

    def duration_ms_of(self, bucket: str, key: str) -> int:
        """The same, for a listing."""
        return _drawn_outline(self._seed, bucket, key).duration_ms

    def failure(self, video: StoredVideo) -> str | None:
        """The failure that `analyse` would report, at a small part of its cost."""
        return FAILURE if self._outline(video).fails else None

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:
        """Entries at multiples of 500 ms, each label together with its parents and with their confidence."""
        plan = self._plan(video)
        if plan.fails:
            return Analysis(failure=FAILURE, metadata=None, labels=[])
        metadata = _metadata(plan)
        content_types = _content_types(plan.draw)
        labels = _entries(_seen(plan), min_confidence, content_types)
        return Analysis(failure=None, metadata=metadata, labels=labels)

    def _plan(self, video: StoredVideo) -> _Plan:
        if case := edge_case(video.bucket, video.key, video.version_id):
            draw = _draw(self._seed, EDGE_CASES_BUCKET, case.version_id)
            return _Plan(case.entries, case.duration_ms, case.fails, draw)
        return _drawn_plan(self._seed, _home(video.bucket), video.key)

    def _outline(self, video: StoredVideo) -> EdgeCase | _Outline:
        if case := edge_case(video.bucket, video.key, video.version_id):
            return case
        return _drawn_outline(self._seed, _home(video.bucket), video.key)


def _home(bucket: str) -> str:
    return ARCHIVE_BUCKET if region_of_archive(bucket) else bucket


@lru_cache(_OUTLINES)
def _drawn_outline(seed: int, bucket: str, key: str) -> _Outline:
    plan = _drawn_plan(seed, bucket, key)
    return _Outline(plan.duration_ms, plan.fails)


def _drawn_plan(seed: int, bucket: str, key: str) -> _Plan:
    draw = _draw(seed, bucket, key)
    numbers = _ORDINAL.findall(key)
    ordinal = int(numbers[-1]) if numbers else draw.getrandbits(32)
    entries = _COUNTS_AT_PAGE_ENDS.get((ordinal + seed) % _CYCLE)
    fails = entries is None and draw.random() < _FAILURE_SHARE
    if entries is None:
        entries = min(_MOST_ENTRIES, round(_MEDIAN_ENTRIES * draw.lognormvariate(0.0, 0.9)))
    needed_ms = -(-entries // _ENTRIES_PER_SAMPLE) * SAMPLE_MS
    drawn_ms = round(_MEDIAN_DURATION_MS * draw.lognormvariate(0.0, 0.9))
    return _Plan(entries, min(_LONGEST_MS, max(_SHORTEST_MS, needed_ms, drawn_ms)), fails, draw)


def _draw(seed: int, bucket: str, key: str) -> random.Random:
    digest = hashlib.blake2b(f"{seed}\0{bucket}\0{key}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


def _seen(plan: _Plan) -> dict[int, float]:
    """Sighting -> confidence: scenes of one lineage each, until exactly the planned entries are there.

    A sighting is a sample and the place of a label in one number, so that their order is that of the entries.
    """
    seen: dict[int, float] = {}
    samples = -(-plan.duration_ms // SAMPLE_MS)
    while plan.entries - len(seen) >= _LONGEST_LINEAGE:
        _add_scene(seen, plan, samples)
    _fill_up(seen, plan, samples)
    return seen


def _add_scene(seen: dict[int, float], plan: _Plan, samples: int) -> None:
    draw = plan.draw.random
    lineage = _LINEAGES[int(draw() * len(_LINEAGES))]
    first = int(draw() * samples)
    last = min(samples, first + 1 + int(draw() * _LONGEST_SCENE_SAMPLES))
    most_before = plan.entries - len(lineage)
    for sample in range(first * len(_LABELS), last * len(_LABELS), len(_LABELS)):
        if len(seen) > most_before:
            return
        confidence = 50 + int(draw() * _CONFIDENCES) / _CONFIDENCE_STEPS
        for place in lineage:
            sighting = sample + place
            if seen.get(sighting, 0.0) < confidence:
                seen[sighting] = confidence


def _fill_up(seen: dict[int, float], plan: _Plan, samples: int) -> None:
    """Add labels of the top level, which need no parents, for the last one or two entries."""
    sightings = (sample * len(_LABELS) + place for sample in range(samples) for place in _TOP_LABELS)
    free = (sighting for sighting in sightings if sighting not in seen)
    while len(seen) < plan.entries:
        seen[next(free)] = _confidence(plan.draw)


def _entries(seen: dict[int, float], min_confidence: float, content_types: tuple[ContentType, ...]) -> list[Entry]:
    entries = []
    for sighting in sorted(seen):
        confidence = seen[sighting]
        if confidence >= min_confidence:
            sample, place = divmod(sighting, len(_LABELS))
            name, parent, level = _NAMED[place]
            entries.append(Entry(sample * SAMPLE_MS, ModerationLabel(confidence, name, parent, level), content_types))
    return entries


def _confidence(draw: random.Random) -> float:
    """50 to 100, and a float32 like AWS's."""
    return 50 + int(draw.random() * _CONFIDENCES) / _CONFIDENCE_STEPS


def _content_types(draw: random.Random) -> tuple[ContentType, ...]:
    if draw.random() >= _ANIMATED_SHARE:
        return ()
    return (ContentType(_confidence(draw), draw.choice(("Animated", "Illustrated"))),)


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

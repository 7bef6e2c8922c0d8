"""Pages, orders and segments of any analysis whatever."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise, product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.conftest import Service, finished, pages
from worker.local.analysts.analysis import Analysis, Entry, ModerationLabel
from worker.local.analysts.taxonomy import TAXONOMY
from worker.local.faults.faults import Faults
from worker.local.moderation.analysing_runner import _packed, _unpacked
from worker.local.moderation.page_tokens import PageTokens
from worker.local.moderation.reads import Reads
from worker.local.moderation.segments import segments
from worker.local.moderation.views import Reading, view_of
from worker.local.protocol.answer_check import check_answer
from worker.local.protocol.shapes import service_model
from worker.local.state.database import Database
from worker.local.state.jobs import Job

GET = service_model("rekognition").operation_model("GetContentModeration")
SORTS, AGGREGATES = ("TIMESTAMP", "NAME"), ("TIMESTAMPS", "SEGMENTS")
READINGS = [Reading("job", sort_by, aggregate_by) for sort_by, aggregate_by in product(SORTS, AGGREGATES)]
JOB = Job(
    job_id="job",
    account="123456789012",
    region="us-east-1",
    bucket="bucket",
    key="key",
    version_id=None,
    size_bytes=1,
    min_confidence=50.0,
    token=None,
    tag="tag",
    topic_arn=None,
    started_at_ms=0,
    ends_at_ms=0,
    seed=1,
    number=1,
    status="SUCCEEDED",
    status_message=None,
    ended_at_ms=0,
    minutes=1.0,
)
LABELS = sorted(TAXONOMY[:6], key=lambda label: label.name)
CONFIDENCES = st.sampled_from([50.0, 50.5, 99.99993896484375, 100.0]) | st.floats(50, 100, width=32)


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    """Labels seen here and there at samples of any distance, or, where the analysis names none, every 500 ms."""
    is_regular = draw(st.booleans())
    gaps_ms = [500] * draw(st.integers(0, 8)) if is_regular else draw(st.lists(st.integers(1, 10_000), max_size=8))
    times_ms = [0 if is_regular else draw(st.integers(0, 2000))]
    for gap_ms in gaps_ms:
        times_ms.append(times_ms[-1] + gap_ms)
    seen = draw(st.sets(st.tuples(st.sampled_from(times_ms), st.integers(0, len(LABELS) - 1)), max_size=20))
    labels = [entry(at_ms, place, draw(CONFIDENCES)) for at_ms, place in sorted(seen)]
    duration_ms = times_ms[-1] + draw(st.integers(1, 500 if is_regular else 3000))
    return Analysis(None, {"DurationMillis": duration_ms}, labels, None if is_regular else times_ms)


def entry(at_ms: int, place: int, confidence: float = 75.0) -> Entry:
    label = LABELS[place]
    return Entry(at_ms, ModerationLabel(confidence, label.name, label.parent, label.level))


def as_json(entries: list[Any]) -> list[dict[str, Any]]:
    """The entries as a page has them."""
    return json.loads(msgspec.json.encode(entries))


def samples_of(analysis: Analysis) -> list[int]:
    return analysis.samples_ms or list(range(0, analysis.metadata["DurationMillis"], 500))


def name_of(label: dict[str, Any]) -> str:
    return label["ModerationLabel"]["Name"]


def confidence_of(label: dict[str, Any]) -> float:
    return label["ModerationLabel"]["Confidence"]


@pytest.fixture(scope="module")
def reads(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reads]:
    """What answers Gets, of which only the cutting of pages is used."""

    async def opened(path: Path) -> Database:
        return Database(path, speed=1)

    database = portal.call(opened, tmp_path_factory.mktemp("views") / "service.sqlite")
    yield Reads(database, None, PageTokens(b"secret"), Faults(database.clock))
    portal.call(database.close)


def cut(reads: Reads, analysis: Analysis, reading: Reading, size: int) -> list[dict[str, Any]]:
    """All pages of that size."""
    view, request, cut_pages = view_of(JOB, analysis, reading), {"MaxResults": size}, []
    while True:
        page = reads._page(view, reading, request)
        check_answer(GET, page)
        cut_pages.append(json.loads(page))
        if (token := cut_pages[-1].get("NextToken")) is None:
            return cut_pages
        request["NextToken"] = token


def listed(analysis: Analysis, reading: Reading) -> list[dict[str, Any]]:
    """All entries as one page has them."""
    view = view_of(JOB, analysis, reading)
    return json.loads(view.page(0, view.count, None))["ModerationLabels"]


@given(analysis=analyses(), reading=st.sampled_from(READINGS))
@settings(deadline=None)
def test_pages_of_every_size_make_the_same_list(reads: Reads, analysis: Analysis, reading: Reading) -> None:
    """Whatever the page size, the pages hold every entry once and in order, and each page but the last is full."""
    entries = listed(analysis, reading)
    heads = []
    for size in range(1, len(entries) + 2):
        found = cut(reads, analysis, reading, size)
        assert [label for page in found for label in page.pop("ModerationLabels")] == entries
        assert len(found) == max(1, -(-len(entries) // size))
        heads += [{name: value for name, value in page.items() if name != "NextToken"} for page in found]
    assert all(head == heads[0] for head in heads)
    assert heads[0]["GetRequestMetadata"] == {"SortBy": reading.sort_by, "AggregateBy": reading.aggregate_by}


@given(analysis=analyses(), aggregate_by=st.sampled_from(AGGREGATES))
def test_name_order_regroups_the_order_of_time(analysis: Analysis, aggregate_by: str) -> None:
    """NAME holds what TIMESTAMP holds, grouped by label in the order of names, the most certain first."""
    by_time = listed(analysis, Reading("job", "TIMESTAMP", aggregate_by))
    by_name = listed(analysis, Reading("job", "NAME", aggregate_by))
    assert sorted(map(repr, by_name)) == sorted(map(repr, by_time))
    groups = [(name, list(group)) for name, group in groupby(by_name, key=name_of)]
    assert [name for name, _ in groups] == sorted({name_of(label) for label in by_time})
    for _, group in groups:
        assert all(confidence_of(former) >= confidence_of(latter) for former, latter in pairwise(group))


@given(analysis=analyses())
def test_time_order_is_that_of_time(analysis: Analysis) -> None:
    """TIMESTAMP holds the entries as they were seen; segments come in the order of their starts."""
    assert listed(analysis, Reading("job", "TIMESTAMP", "TIMESTAMPS")) == as_json(analysis.labels)
    starts = [label["Timestamp"] for label in listed(analysis, Reading("job", "TIMESTAMP", "SEGMENTS"))]
    assert starts == sorted(starts)


@given(analysis=analyses(), sort_by=st.sampled_from(SORTS))
def test_segments_cover_exactly_the_samples(analysis: Analysis, sort_by: str) -> None:
    """Each sample of a label lies in exactly one of its segments, and no segment has a gap or could be longer."""
    samples_ms, duration_ms = samples_of(analysis), analysis.metadata["DurationMillis"]
    seen: dict[str, dict[int, float]] = defaultdict(dict)
    for label in as_json(analysis.labels):
        seen[name_of(label)][label["Timestamp"]] = confidence_of(label)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for segment in listed(analysis, Reading("job", sort_by, "SEGMENTS")):
        found[name_of(segment)].append(segment)
    assert found.keys() == seen.keys()
    for name, of_label in found.items():
        covered = []
        for segment in of_label:
            start_ms, end_ms = segment["StartTimestampMillis"], segment["EndTimestampMillis"]
            within = [at_ms for at_ms in samples_ms if at_ms == start_ms or start_ms <= at_ms < end_ms]
            assert segment["Timestamp"] == start_ms == within[0]
            assert end_ms in (*samples_ms, duration_ms)
            assert segment["DurationMillis"] == end_ms - start_ms
            assert confidence_of(segment) == max(seen[name][at_ms] for at_ms in within)
            covered += within
        assert sorted(covered) == sorted(seen[name])
        in_order = sorted(of_label, key=lambda segment: segment["Timestamp"])
        assert all(one["EndTimestampMillis"] < next_["StartTimestampMillis"] for one, next_ in pairwise(in_order))
        spans_ms = {at_ms: next_ms - at_ms for at_ms, next_ms in pairwise([*samples_ms, duration_ms])}
        assert sum(segment["DurationMillis"] for segment in of_label) == sum(spans_ms[at_ms] for at_ms in seen[name])


@pytest.mark.parametrize(
    ("samples_ms", "seen_ms", "expected"),
    [
        ([0, 1000, 2000, 3000], [0, 1000, 2000], [(0, 3000)]),  # one frame a second
        ([0, 520, 1100, 2900, 3000], [520, 1100, 2900], [(520, 3000)]),  # a variable rate
        ([0, 520, 1100, 2900, 3000], [0, 1100, 3000], [(0, 520), (1100, 2900), (3000, 4000)]),
        ([0], [0], [(0, 4000)]),  # a still
        ([0, 4000], [0, 4000], [(0, 4000)]),  # a last frame without a length
        ([0, 4000], [4000], [(4000, 4000)]),
        (None, [0, 500, 1500], [(0, 1000), (1500, 2000)]),
        (None, [3500], [(3500, 4000)]),
    ],
)
def test_consecutive_are_samples_without_another_between(
    samples_ms: list[int] | None, seen_ms: list[int], expected: list[tuple[int, int]]
) -> None:
    """However far apart samples are, a label that is seen in neighbouring ones is one segment."""
    analysis = Analysis(None, {"DurationMillis": 4000}, [entry(at_ms, 0) for at_ms in seen_ms], samples_ms)
    found = [
        (segment["StartTimestampMillis"], segment["EndTimestampMillis"]) for segment in as_json(segments(analysis))
    ]
    assert found == expected


@given(analysis=analyses())
def test_stored_analyses_are_the_same(analysis: Analysis) -> None:
    """An analysis that was stored, also one that names no samples, is read back as it was."""
    assert _unpacked(_packed(analysis)) == analysis
    members = msgspec.to_builtins(analysis)
    del members["samples_ms"]
    of_before = _unpacked(zlib.compress(msgspec.json.encode(members)))
    assert (of_before.labels, of_before.samples_ms) == (analysis.labels, None)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: f"{reading.sort_by}-{reading.aggregate_by}")
@pytest.mark.parametrize(
    ("key", "sizes"),
    [
        ("no-labels.mp4", (1,)),
        ("one-label.mp4", (1, 2)),
        ("three-versions.mp4", (1, 3, 29, 30, 31)),
        ("two-and-a-half-pages.mp4", (499, 999)),
    ],
)
def test_pages_over_http_make_the_same_list(
    service: Service, reading: Reading, key: str, sizes: tuple[int, ...]
) -> None:
    """The pages of a job are cut at any size, and together they hold the same entries."""
    rekognition = service.client("rekognition")
    video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": key}}
    job_id = rekognition.start_content_moderation(Video=video)["JobId"]
    finished(rekognition, job_id)
    how = {"SortBy": reading.sort_by, "AggregateBy": reading.aggregate_by}

    def read(size: int) -> list[dict[str, Any]]:
        found = pages(rekognition, job_id, MaxResults=size, **how)
        assert all(len(page["ModerationLabels"]) == size for page in found[:-1])
        return [label for page in found for label in page["ModerationLabels"]]

    whole = read(1000)
    assert all(read(size) == whole for size in sizes)

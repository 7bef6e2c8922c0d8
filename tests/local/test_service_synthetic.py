"""What the synthetic analyst makes up."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice, pairwise

import msgspec
import pytest

from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.analysts.taxonomy import TAXONOMY
from worker.local.storage.archive import ARCHIVE_BUCKET, Archive


def analyses(seed: int, videos: int) -> list[tuple[StoredVideo, Analysis]]:
    analyst = SyntheticAnalyst(seed)
    stored = [
        StoredVideo(ARCHIVE_BUCKET, item.key, item.version_id, item.size_bytes, None)
        for item in Archive(analyst, seed, videos).listed("", "")
    ]
    return [(video, analyst.analyse(video, 50.0)) for video in stored]


@pytest.mark.parametrize("seed", [0, 1, 7, 12345, -3])
def test_a_hundred_videos_have_every_count_at_the_ends_of_pages(seed: int) -> None:
    """Archives of 100 videos have results of 0, 1, 999, 1000, 1001 and 2503 entries whatever the seed."""
    counts = {len(analysis.labels) for _, analysis in analyses(seed, 100) if analysis.failure is None}
    assert {0, 1, 999, 1000, 1001, 2503} <= counts


def test_analyses_are_those_of_plausible_videos() -> None:
    """Entries come in order, once each, within the video, and together with their parents."""
    parents = {label.name: label.parent for label in TAXONOMY}
    levels = {label.name: label.level for label in TAXONOMY}
    for _, analysis in analyses(1, 200):
        if analysis.metadata is None:
            continue
        entries = [(entry.timestamp, entry.moderation_label.name) for entry in analysis.labels]
        assert all(before < after for before, after in pairwise(entries))
        for entry in analysis.labels:
            label = entry.moderation_label
            assert 0 <= entry.timestamp < analysis.metadata["DurationMillis"]
            assert entry.timestamp % 500 == 0
            assert (label.parent_name, label.taxonomy_level) == (parents[label.name], levels[label.name])
        seen = set(entries)
        assert all((at_ms, parents[name]) in seen for at_ms, name in entries if parents[name])


@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        (1, "eb022ae42a80b028d1c6e85f23adbc9c66d33559fbb63d6389d07c257b586328"),
        (7, "6c55a3c8ce70b232e926383f4e28ee93a6a5bf82967798e29b84f00a40fd1d7d"),
    ],
)
def test_the_archive_is_that_of_earlier_versions(seed: int, digest: str) -> None:
    """Objects and analyses of 300 videos are, byte by byte, what they have always been."""
    analyst, seen = SyntheticAnalyst(seed), hashlib.sha256()
    for item in Archive(analyst, seed, 300).listed("", ""):
        video = StoredVideo(ARCHIVE_BUCKET, item.key, None, item.size_bytes, None)
        seen.update(msgspec.json.encode(analyst.analyse(video, 50.0)))
        seen.update(msgspec.json.encode(msgspec.structs.asdict(item)))
    assert seen.hexdigest() == digest


def test_the_same_name_is_always_the_same_video() -> None:
    """(seed, bucket, key) decides everything: another seed is another archive."""
    assert analyses(5, 30) == analyses(5, 30)
    assert [analysis.labels for _, analysis in analyses(5, 30)] != [analysis.labels for _, analysis in analyses(6, 30)]


def test_durations_and_failures_are_spread_as_promised() -> None:
    """Of many videos about 1 in 200 fails, durations have a long tail, and the quick answers are those of analyses."""
    analyst = SyntheticAnalyst(1)
    archive = Archive(analyst, 1, 20_000)
    videos = [StoredVideo(ARCHIVE_BUCKET, item.key, None, 0, None) for item in archive.listed("", "")]
    durations_ms = sorted(analyst.duration_ms(video) for video in videos)
    failed = [video for video in videos if analyst.failure(video)]

    assert 60 <= len(failed) <= 140
    assert durations_ms[0] >= 5_000
    assert durations_ms[-1] <= 600_000
    assert 40_000 <= durations_ms[10_000] <= 110_000
    assert sum(durations_ms) / len(durations_ms) > durations_ms[10_000] * 1.1
    assert Counter(analyst.analyse(video, 50.0).failure for video in failed[:20]) == {"Unsupported codec/format.": 20}


async def test_a_listing_may_begin_anywhere_in_a_huge_archive() -> None:
    """Of 10^8 videos any is found at once, and the listing goes on from there in order."""
    videos = 10**8
    archive = Archive(SyntheticAnalyst(1), 1, videos)
    first = next(archive.listed("", ""))
    deep = list(islice(archive.listed("3000/07/", ""), 3))
    assert "/000000 " in first.key
    assert all(item.key.startswith("3000/07/camera-01/") for item in deep)
    assert next(archive.listed("", deep[0].key)) == deep[0]
    assert next(archive.listed("", deep[0].key + "\0")) == deep[1]
    assert [await archive.find(item.key, None) for item in deep] == deep
    assert await archive.find(deep[0].key.replace(".mp4", ".mov"), None) is None
    assert list(archive.listed("", "9")) == []
    assert list(archive.listed("9", "")) == []

"""The bucket of edge cases: each key is what its name says, to S3, to Rekognition and to the analyst."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import Service, finished, pages
from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.analysts.edge_cases import EDGE_CASES
from worker.local.analysts.synthetic import SyntheticAnalyst

BUCKET = "synthetic-edge-cases"
SIX_HOURS_MS = 6 * 3600 * 1000


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    return service.client("s3")


@pytest.fixture(scope="module")
def rekognition(service: Service) -> Any:
    return service.client("rekognition")


def started(rekognition: Any, key: str, **version: str) -> str:
    video = {"S3Object": {"Bucket": BUCKET, "Name": key, **version}}
    return rekognition.start_content_moderation(Video=video)["JobId"]


def analysed(key: str, version_id: str | None = None, seed: int = 1) -> Analysis:
    return SyntheticAnalyst(seed).analyse(StoredVideo(BUCKET, key, version_id, 0, None), 50.0)


def test_the_cases_are_in_the_order_of_their_keys() -> None:
    """The table is ordered as a listing must be: by key, then from the latest version to the first."""
    assert list(EDGE_CASES) == sorted(EDGE_CASES, key=lambda case: (case.key, -case.number))


def test_heads_agree_with_the_listing(s3: Any) -> None:
    """Sizes, ETags and storage classes are the same in both, for every version too."""
    items = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [item["Key"] for item in items] == sorted({case.key for case in EDGE_CASES})
    for item in s3.list_object_versions(Bucket=BUCKET)["Versions"]:
        head = s3.head_object(Bucket=BUCKET, Key=item["Key"], VersionId=item["VersionId"])
        assert (head["ContentLength"], head["ETag"], head["LastModified"]) == (
            item["Size"],
            item["ETag"],
            item["LastModified"],
        )
        assert head.get("StorageClass", "STANDARD") == item["StorageClass"]
        assert head["VersionId"] == item["VersionId"]


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize(
    ("key", "entries", "duration_ms"),
    [
        ("no-labels.mp4", 0, 60_000),
        ("one-label.mp4", 1, 60_000),
        ("one-page.mp4", 1000, 240_000),
        ("one-more-than-a-page.mp4", 1001, 240_000),
        ("two-and-a-half-pages.mp4", 2500, 600_000),
        ("over-6-hours.mp4", 250, SIX_HOURS_MS + 1000),
        ("three-versions.mp4", 30, 180_000),
    ],
)
def test_analyses_keep_the_promise_of_the_key(key: str, entries: int, duration_ms: int, seed: int) -> None:
    """Lengths and counts of entries are those that the key promises, whatever the seed."""
    analysis = analysed(key, seed=seed)
    assert analysis.failure is None
    assert len(analysis.labels) == entries
    assert analysis.metadata["DurationMillis"] == duration_ms


def test_six_hours_of_entries() -> None:
    """Exactly six hours have 130,000 entries, all within the video."""
    analysis = analysed("six-hours.mp4")
    assert analysis.metadata["DurationMillis"] == SIX_HOURS_MS
    assert len(analysis.labels) == 130_000
    assert analysis.labels[-1].timestamp < SIX_HOURS_MS


def test_an_unsupported_codec_fails(rekognition: Any) -> None:
    """The job ends FAILED with Rekognition's message."""
    answer = finished(rekognition, started(rekognition, "unsupported-codec.mp4"))
    assert (answer["JobStatus"], answer["StatusMessage"]) == ("FAILED", "Unsupported codec/format.")


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("one-page.mp4", [1000]),
        ("one-more-than-a-page.mp4", [1000, 1]),
        ("two-and-a-half-pages.mp4", [1000, 1000, 500]),
    ],
)
def test_pages_end_where_the_key_says(rekognition: Any, key: str, counts: list[int]) -> None:
    """Results have exactly the pages that the key promises."""
    read = pages(rekognition, started(rekognition, key))
    assert [len(page["ModerationLabels"]) for page in read] == counts


def test_over_10_gb_is_refused(s3: Any, rekognition: Any) -> None:
    """One byte more than 10 GiB is too large a video, though S3 has it."""
    assert s3.head_object(Bucket=BUCKET, Key="over-10-gb.mp4")["ContentLength"] == 10 * 2**30 + 1
    with pytest.raises(ClientError) as error:
        started(rekognition, "over-10-gb.mp4")
    assert error.value.response["Error"]["Code"] == "VideoTooLargeException"


def test_an_archived_object_cannot_be_read(s3: Any, rekognition: Any) -> None:
    """HEAD names the storage class; neither GetObject nor Rekognition can read the object."""
    assert s3.head_object(Bucket=BUCKET, Key="archived.mp4")["StorageClass"] == "GLACIER"
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=BUCKET, Key="archived.mp4")
    assert error.value.response["Error"]["Code"] == "InvalidObjectState"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError) as error:
        started(rekognition, "archived.mp4")
    assert error.value.response["Error"]["Code"] == "InvalidS3ObjectException"


def test_three_versions_are_three_videos(s3: Any, rekognition: Any) -> None:
    """Each version has its own size, length and labels; without a version the latest is meant."""
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix="three-versions.mp4")["Versions"]
    version_ids = [version["VersionId"] for version in versions]
    found = [
        finished(rekognition, started(rekognition, "three-versions.mp4", Version=version_id))
        for version_id in version_ids
    ]
    assert [answer["VideoMetadata"]["DurationMillis"] for answer in found] == [180_000, 120_000, 60_000]
    assert [len(answer["ModerationLabels"]) for answer in found] == [30, 20, 10]
    assert len({version["Size"] for version in versions}) == 3
    contents = {
        s3.get_object(Bucket=BUCKET, Key="three-versions.mp4", VersionId=version_id, Range="bytes=0-99")["Body"].read()
        for version_id in version_ids
    }
    assert len(contents) == 3
    latest = finished(rekognition, started(rekognition, "three-versions.mp4"))
    assert latest["ModerationLabels"] == found[0]["ModerationLabels"]
    assert s3.head_object(Bucket=BUCKET, Key="three-versions.mp4")["VersionId"] == version_ids[0]
    with pytest.raises(ClientError) as error:
        started(rekognition, "three-versions.mp4", Version="0" * 32)
    assert error.value.response["Error"]["Code"] == "InvalidS3ObjectException"

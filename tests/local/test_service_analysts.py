"""Jobs belong to the analyst that they were started with, whichever one the service is started with later."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import videos
from tests.local.conftest import AT_ONCE, Service, archive_keys, finished, pages, start, until

NewService = Callable[..., Service]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short clip, and one that takes seconds to be looked at."""
    built, kept = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("clips")
    videos.build(built)
    (built / "silent.mp4").rename(kept / "short.mp4")
    videos.repeat(built / "bikes.mp4", kept / "long.mp4", 2)
    return kept


def restarted(service: Service, **local: Any) -> Any:
    """A client of the service after it went on with other settings."""
    service.kill()
    service.settings["local"] |= local
    return service.start().client("rekognition")


def started(rekognition: Any, bucket: str, key: str) -> str:
    return rekognition.start_content_moderation(Video={"S3Object": {"Bucket": bucket, "Name": key}})["JobId"]


def told(rekognition: Any, job_id: str) -> dict[str, Any]:
    """The first page once the job has ended, without what differs from answer to answer."""
    return {name: value for name, value in finished(rekognition, job_id).items() if name != "ResponseMetadata"}


def left_running(service: Service) -> list[str]:
    """The jobs that a dead service has not ended."""
    with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database:
        return [row[0] for row in database.execute("SELECT job_id FROM job WHERE status = 'IN_PROGRESS'")]


def running(service: Service) -> int:
    return service.get_json("/_ledger?summary=1")["running"]


def test_jobs_of_both_analysts_live_side_by_side(new_service: NewService, folder: Path) -> None:
    """Real analyses are read and finished by a synthetic service, and synthetic ones by a real one, unchanged."""
    service = new_service(**AT_ONCE, analyst="onnx").start()
    rekognition, bucket = service.client("rekognition"), service.publish(folder)
    short = started(rekognition, bucket, "short.mp4")
    seen = told(rekognition, short)
    long = started(rekognition, bucket, "long.mp4")
    service.kill()
    assert left_running(service) == [long]

    rekognition = restarted(service, analyst="synthetic")
    assert told(rekognition, short) == seen
    made_up = started(rekognition, bucket, "short.mp4")
    found = pages(rekognition, made_up)
    assert finished(rekognition, long)["VideoMetadata"]["FrameWidth"] == videos.GOOD["bikes.mp4"]["FrameWidth"]
    until(lambda: running(service) == 0)
    later = restarted(service, job_seconds=1)
    timed = started(later, bucket, "short.mp4")

    rekognition = restarted(service, analyst="onnx")
    assert [page["ModerationLabels"] for page in pages(rekognition, made_up)] == [
        page["ModerationLabels"] for page in found
    ]
    assert finished(rekognition, timed)["ModerationLabels"] == found[0]["ModerationLabels"]
    assert told(rekognition, short) == seen
    assert running(service) == 0


def test_a_job_whose_analyst_is_gone_fails(
    new_service: NewService, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the packages stored analyses are still read, and unfinished jobs end FAILED and say what is missing."""
    service = new_service(analyst="onnx").start()
    rekognition, bucket = service.client("rekognition"), service.publish(folder)
    short = started(rekognition, bucket, "short.mp4")
    seen = told(rekognition, short)
    long = started(rekognition, bucket, "long.mp4")
    service.kill()
    (tmp_path / "av.py").write_text("raise ImportError('no av', name='av')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    rekognition = restarted(service, analyst="synthetic")
    ended = finished(rekognition, long)
    assert told(rekognition, short) == seen
    assert (ended["JobStatus"], ended["ModerationLabels"]) == ("FAILED", [])
    assert "packages that are missing (av)" in ended["StatusMessage"]
    assert running(service) == 0


def test_jobs_keep_their_seed(new_service: NewService) -> None:
    """What a job has found does not change with the seed, nor do its tokens lead beyond its end."""
    service = new_service(**AT_ONCE, seed=1, videos=40).start()
    rekognition = service.client("rekognition")
    keys = archive_keys(service)[:20]
    found = {start(rekognition, key): key for key in keys}
    before = {job_id: pages(rekognition, job_id) for job_id in found}
    rekognition = restarted(service, seed=2)
    after = {job_id: labels(pages(rekognition, job_id)) for job_id in found}
    [longest] = [job_id for job_id, read in before.items() if len(labels(read)) == 2503]
    token = before[longest][0]["NextToken"]
    following = rekognition.get_content_moderation(JobId=longest, NextToken=token)

    assert after == {job_id: labels(read) for job_id, read in before.items()}
    assert following["ModerationLabels"] == before[longest][1]["ModerationLabels"]


def labels(read: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [label for page in read for label in page["ModerationLabels"]]


def test_a_token_beyond_the_end_is_refused(new_service: NewService) -> None:
    """A token that points behind the last entry is an InvalidPaginationTokenException, not an empty page."""
    service = new_service(**AT_ONCE).start()
    rekognition = service.client("rekognition")
    job_id = started(rekognition, "synthetic-edge-cases", "two-and-a-half-pages.mp4")
    token = pages(rekognition, job_id)[1]["NextToken"]
    service.kill()
    with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database, database:
        database.execute("UPDATE job SET min_confidence = 99.0")
    rekognition = service.start().client("rekognition")
    with pytest.raises(ClientError, match="InvalidPaginationTokenException"):
        rekognition.get_content_moderation(JobId=job_id, NextToken=token)

"""Pages smaller than was asked for."""

from __future__ import annotations

from pathlib import Path

from tests.local.conftest import AT_ONCE, Service, finished
from tests.system.truth import labels_of

KEY = {"Bucket": "synthetic-edge-cases", "Name": "three-versions.mp4"}


def test_largest_page_bounds_every_page(tmp_path: Path):
    """A page holds what the service grants, whatever is asked for; all pages together hold everything."""
    service = Service(tmp_path, local=AT_ONCE | {"largest_page": 7, "quota_burst": 50}, lanes={})
    try:
        rekognition = service.start().client("rekognition")
        job_id = rekognition.start_content_moderation(Video={"S3Object": KEY})["JobId"]
        first = finished(rekognition, job_id, MaxResults=1000)
        assert len(first["ModerationLabels"]) == 7
        assert labels_of(rekognition, job_id).total() == 30
    finally:
        service.kill()

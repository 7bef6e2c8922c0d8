"""A listing outlives answers that are lost, cut short or refused for a while."""

from __future__ import annotations

import pytest

from tests.system.site import Site
from worker.pipeline.listing import TRIES

ARCHIVE = "s3://synthetic-archive/"
VIDEOS = 2_345
LISTING = {"operations": ["ListObjectsV2"]}


@pytest.fixture
def site(site: Site) -> Site:
    """A site whose archive is listed in three pages."""
    site.configure(local={"videos": VIDEOS})
    site.service()
    return site


def test_lost_answers_cost_no_object(site: Site):
    """Every object is registered once, though some answers are cut short and some calls are too many."""
    cut, refused = {"fault": "truncated", "skip": 1, "times": 3}, {"fault": "error", "code": "SlowDown", "times": 2}
    site.put_faults({"calls": [cut | LISTING, refused | LISTING]})
    done = site.run("enqueue", ARCHIVE)
    assert done.returncode == 0, done.stderr
    assert f"{VIDEOS:,}" in done.stdout


def test_a_page_that_cannot_be_had_is_told(site: Site):
    """After some tries the listing ends with what to do."""
    site.put_faults({"calls": [{"fault": "truncated", "times": TRIES} | LISTING]})
    done = site.run("enqueue", ARCHIVE)
    assert done.returncode == 2
    assert "s3://synthetic-archive/ cannot be listed" in done.stderr
    assert "give the command again" in done.stderr
    done = site.run("enqueue", ARCHIVE)
    assert done.returncode == 0, done.stderr

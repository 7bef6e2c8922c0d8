"""`doctor` on this machine alone: the config file of the quickstart has a clean bill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.desk import Desk
from tests.system.site import ROOT

LOCAL = str(ROOT / "config" / "local.toml")


@pytest.fixture
def quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A place for the quickstart's data that is not this clone's."""
    monkeypatch.setenv("MODWORKER_DATABASE__DATA_DIR", str(tmp_path / "data"))
    return Desk(tmp_path, capsys, {})


def test_quickstart_has_a_clean_bill(quickstart: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """The local service lets everything be tried; what it makes up is not checked, and is no fault."""
    monkeypatch.setenv("MODWORKER_DATABASE__URL", database_url)
    code = quickstart.run_as_typed("doctor", "s3://synthetic-archive/", "--config", LOCAL, "--json")
    assert code == 0, quickstart.err
    findings = {f["subject"]: f["verdict"] for f in json.loads(quickstart.out)["findings"]}
    assert findings == {
        "database": "fine",
        "lane main, clock": "fine",
        "lane main, credentials": "fine",
        "lane main, rekognition": "fine",
        "lane main, queue": "fine",
        "lane main, queue attributes": "fine",
        "lane main, channel": "not checked",
        "lane main, bucket synthetic-archive": "fine",
    }


def test_disk_that_is_short_of_space_is_the_only_fault(quickstart: Desk, monkeypatch: pytest.MonkeyPatch):
    """The embedded database is started for the look; while its disk is short of space nothing would be claimed."""
    monkeypatch.setenv("MODWORKER_DATABASE__MIN_FREE_GB", "1000000")
    assert quickstart.run_as_typed("doctor", "--config", LOCAL, "--json") == 1
    document = json.loads(quickstart.out.splitlines()[-1])  # what was logged stands before it
    [fault] = [finding for finding in document["findings"] if finding["verdict"] == "fault"]
    assert (fault["subject"], document["faults"]) == ("database", 1)
    assert "GB are free, database.min_free_gb is 1e+06" in fault["sentence"]

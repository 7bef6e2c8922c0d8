"""The fixture for other people's tests, as the page about it shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from worker.local.faults.plan import plan_of_file

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_in(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as in somebody else's project."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=environment | {"MODWORKER_LOCAL__SPEED": "meant for something else"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    """What the page shows works in a project that knows nothing else."""
    example, _ = blocks("python")
    done = run_in(tmp_path, test_moderation=example)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_settings_and_folders_are_the_projects_own(tmp_path: Path) -> None:
    """A project overrides the service's settings, publishes a folder, and gives the variables to a process."""
    _, settings = blocks("python")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"not much of a video")
    test = """
import os, subprocess, sys
from pathlib import Path

def test_it(moderation_service):
    bucket = moderation_service.publish(Path(__file__).parent / "clips")
    program = "import boto3; print(boto3.client('s3').list_objects_v2(Bucket='%s')['Contents'][0]['Key'])" % bucket
    environment = os.environ | moderation_service.environment
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "a.mp4\\n"
    rekognition = moderation_service.client("rekognition")
    video = {"S3Object": {"Bucket": bucket, "Name": "a.mp4"}}
    for _ in range(20):
        rekognition.start_content_moderation(Video=video)
    assert moderation_service.ledger()["quotas"][-1]["granted"] == 20
"""
    done = run_in(tmp_path, conftest=settings, test_folder=test)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_mistakes_are_told_in_words(tmp_path: Path) -> None:
    """A plan or a folder that cannot be is a ValueError that says why; a proxy in the environment changes nothing."""
    test = """
import pytest

def test_it(moderation_service, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="eror"), moderation_service.faults(calls=[{"fault": "eror"}]):
        pass
    with pytest.raises(ValueError, match="missing"):
        moderation_service.publish("missing")
    assert moderation_service.client("sts").get_caller_identity()["Account"] == "123456789012"
"""
    done = run_in(tmp_path, test_it=test)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_plan_of_the_page_is_one(tmp_path: Path) -> None:
    """The fault plan that the page shows is accepted whole."""
    [text] = blocks("toml")
    (tmp_path / "faults.toml").write_text(text)
    plan = plan_of_file(tmp_path / "faults.toml")
    assert [len(table) for table in (plan.calls, plan.notices, plan.jobs, plan.tokens, plan.tenants)] == [3, 1, 1, 1, 1]


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    """A setting that cannot be is told by its name."""
    fixture = "@pytest.fixture(scope='session')\ndef moderation_service_settings():\n    return {'speed': 0}\n"
    settings = f"import pytest\n{fixture}"
    done = run_in(tmp_path, conftest=settings, test_it="def test_it(moderation_service): pass\n")
    assert "did not start" in done.stdout
    assert "MODWORKER_LOCAL__SPEED" in done.stdout

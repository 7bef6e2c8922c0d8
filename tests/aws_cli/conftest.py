"""A service for the `aws` program, and the program with the keys of an account of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.aws_cli.program import Aws, installed
from tests.local.conftest import REGION, ROOT, Service, service
from worker.local.accounts import account_of

__all__ = ["service"]

LANE = "shell"


@pytest.fixture(scope="session")
def lanes() -> dict[str, Any]:
    """One lane, whose quotas no test reaches."""
    wide = {"start_per_second": 5_000, "get_per_second": 5_000, "concurrent_jobs": 10_000}
    return {LANE: {"region": REGION, "endpoint_url": "local", **wide}}


@pytest.fixture(scope="session")
def program() -> Path:
    """The installed program."""
    return installed(ROOT / ".venv" / "aws", os.environ)


@pytest.fixture(scope="session")
def aws(program: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Aws:
    """The program, set up for the lane's account."""
    return Aws(program, service.url, account_of(LANE), REGION, tmp_path_factory.mktemp("home"))

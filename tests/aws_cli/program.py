"""The `aws` program, run as somebody at a shell runs it against the service."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker.local.accounts import access_key_of

DEADLINE_SECONDS = 60


class Refusal(msgspec.Struct, frozen=True):
    """How the program ended, and what it printed for the person who called it."""

    exit_code: int
    message: str


class Aws:
    """The program with an account's keys, a region and an endpoint; nothing else of this machine reaches it."""

    def __init__(self, program: Path, endpoint_url: str, account: str, region: str, home: Path) -> None:
        self._command = [program, "--endpoint-url", endpoint_url, "--region", region, "--output", "json"]
        self._environment = {
            "HOME": str(home),
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "PYTHONWARNINGS": "ignore",  # a newer Python may warn while it compiles the program for the first time
            "AWS_ACCESS_KEY_ID": access_key_of(account),
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_CONFIG_FILE": str(home / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }

    def text(self, *arguments: str) -> str:
        """What a command prints that succeeds."""
        ended = self._run(arguments)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def json(self, *arguments: str) -> Any:
        """The document that a command prints that succeeds; None where it prints nothing."""
        printed = self.text(*arguments)
        return json.loads(printed) if printed else None

    def refused(self, *arguments: str) -> Refusal:
        """How a command ends that prints no answer."""
        ended = self._run(arguments)
        assert ended.stdout == "", ended
        return Refusal(ended.returncode, ended.stderr.strip())

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
            check=False,
        )


def installed(environment: Path, variables: Mapping[str, str]) -> Path:
    """The program of a virtual environment.

    Where the environment was not made, tests are skipped; but under CI, where nobody reads of skips, they fail.
    """
    if (environment / ".ready").exists():
        return environment / "bin" / "aws"
    missing = "the aws program is not installed; `make test` installs it and runs every test"
    if variables.get("CI"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)

"""Where the program comes from, and who it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws_cli.conftest import LANE
from tests.aws_cli.program import Aws, installed
from worker.local.accounts import account_of


def test_without_the_program_tests_are_skipped_and_under_ci_fail(tmp_path: Path) -> None:
    """A missing environment is named together with the command that makes it."""
    with pytest.raises(pytest.skip.Exception, match="`make test`"):
        installed(tmp_path, {})
    with pytest.raises(pytest.fail.Exception, match="`make test`"):
        installed(tmp_path, {"CI": "true"})


def test_the_access_key_tells_the_account(aws: Aws) -> None:
    """`aws sts get-caller-identity` prints the account whose access key it was given."""
    account = account_of(LANE)
    assert aws.json("sts", "get-caller-identity") == {
        "UserId": f"AIDA{account}",
        "Account": account,
        "Arn": f"arn:aws:iam::{account}:user/modworker",
    }

"""The smallest AWS, for tests that need no more of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal

from tests.system.small_aws import CREDENTIALS, SmallAws, small_aws


@pytest.fixture
def aws(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallAws]:
    """What answers, with credentials for it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with portal.wrap_async_context_manager(small_aws()) as aws:
        yield aws

"""Clients are opened without the event loop standing still."""

from __future__ import annotations

import builtins
import threading
from typing import Any

import pytest

from tests.system.small_aws import small_aws
from worker.aws import session
from worker.aws.session import Credentials, open_clients
from worker.config import Lane


async def test_service_models_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch):
    """They are megabytes of JSON: a lane that is opened does not have the others wait for them."""
    readers: dict[str, set[int]] = {}
    true_open = builtins.open

    def noting_open(file: Any, *arguments: Any, **options: Any) -> Any:
        readers.setdefault(str(file), set()).add(threading.get_ident())
        return true_open(file, *arguments, **options)

    session._loader.cache_clear()
    async with small_aws() as aws:
        monkeypatch.setattr(builtins, "open", noting_open)
        async with open_clients(Lane(**aws.lane()), Credentials("AKIDEXAMPLE", "secret")):
            pass
        monkeypatch.undo()
    for service in ("rekognition", "sqs", "s3"):
        threads = set[int]().union(*(readers[name] for name in readers if f"/{service}/" in name))
        assert threads
        assert threading.get_ident() not in threads

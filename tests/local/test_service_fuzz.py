"""Malformed requests neither end the service nor break its answers; strangers do not reach it at all."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.local.conftest import Service
from tests.local.fuzz import fuzz
from tests.local.malformed import Malformed, World

REQUESTS = 5_000
SEED = 20_261_122


async def test_malformed_requests_are_refused(tmp_path: Path) -> None:
    """Thousands of malformed requests leave the same process, no 500, no trace, and jobs that go on as ever."""
    print(f"seed {SEED}")
    report = await fuzz(REQUESTS, SEED, tmp_path)
    assert report.problems == []
    assert report.requests >= REQUESTS
    assert {"200", "400", "403", "404", "501"} <= report.statuses.keys()
    assert "500" not in report.statuses


def test_the_same_seed_makes_the_same_requests() -> None:
    """What a run has found can be sent again."""
    world = World(
        account="1" * 12,
        region="us-east-1",
        queue="1/main",
        queue_url="http://127.0.0.1/1/main",
        topic_arn="arn:aws:sns:us-east-1:1:AmazonRekognition-main",
        role_arn="arn:aws:iam::1:role/x",
        job_ids=("a", "b"),
        next_token="t",
        receipt_handle="r",
        keys=("k",),
        version_id="v",
        folder="/folder",
        folder_bucket="folder-1",
    )
    first, second = (Malformed(SEED, world).plans() for _ in range(2))
    assert [next(first) for _ in range(50)] == [next(second) for _ in range(50)]


def test_only_this_machine_is_listened_to(service: Service) -> None:
    """Unless told otherwise the service has one address of the loopback interface, and not even its neighbours."""
    address = urlsplit(service.url)
    assert "listen" not in service.settings["local"]
    assert address.hostname == "127.0.0.1"
    with socket.socket() as neighbour:
        assert neighbour.connect_ex(("127.0.0.2", address.port)) == errno.ECONNREFUSED

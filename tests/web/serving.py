"""Workers that show their pages."""

from __future__ import annotations

import json
from typing import Any

from tests.system.processes import WorkerProcess
from tests.system.site import Site, until

SERVED = "health and metrics are served"


def pages_of(site: Site, *, token: str = "", arguments: tuple[str, ...] = ("run",)) -> tuple[WorkerProcess, str]:
    """Start a worker with pages on any free port; gives it and their URL."""
    site.configure(worker={"http_listen": "127.0.0.1:0", "http_token": token})
    worker = site.start(*arguments)
    return worker, url_of(worker)


def url_of(worker: WorkerProcess) -> str:
    """The URL that a worker says it serves its pages on."""
    line: dict[str, Any] = {}
    while SERVED not in line.get("event", ""):
        line = json.loads(until(worker.stderr.readline))
    return str(line["url"])

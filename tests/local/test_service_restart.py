"""The service across the death of its process: nothing that was answered is lost, nothing is done twice."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.local.conftest import (
    AT_ONCE,
    PROGRAM,
    ROOT,
    Service,
    archive_keys,
    finished,
    notice,
    pages,
    received,
    start,
    until,
)

NewService = Callable[..., Service]


def heard_job_ids(service: Service) -> list[str]:
    """The jobs of all notices in the queue, in no order."""
    sqs, queue_url = service.client("sqs"), service.lane().queue_url
    heard: list[str] = []
    while messages := received(sqs, queue_url, WaitTimeSeconds=0, VisibilityTimeout=600):
        heard += [notice(message)["JobId"] for message in messages]
    return heard


def running(service: Service) -> int:
    return service.get_json("/_ledger?summary=1")["running"]


def end_at(service: Service, ends_at_ms: str) -> None:
    """Change when the jobs of a dead service are to end."""
    with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database, database:
        database.execute(f"UPDATE job SET ends_at_ms = {ends_at_ms}")


def start_all(service: Service, keys: list[str]) -> list[str]:
    """Start a job of each key, each under its own token."""
    rekognition, channel = service.client("rekognition"), service.channel()
    return [
        start(rekognition, key, ClientRequestToken=f"token-{place}", NotificationChannel=channel)
        for place, key in enumerate(keys)
    ]


def test_a_killed_service_goes_on_where_it_was(new_service: NewService) -> None:
    """After kill -9 at its port: running jobs end and send one notice each, and tokens still hold."""
    service = new_service(speed=1).start()
    url, keys = service.url, archive_keys(service)[:6]
    job_ids = start_all(service, keys)
    service.kill()
    restarts_at_ms = time.time_ns() // 1_000_000
    end_at(service, f"{restarts_at_ms} + 4000 + 100 * number")
    service.start()
    again = start_all(service, keys)
    until(lambda: running(service) == 0, 60)
    ledger = service.get_json("/_ledger")

    assert service.url == url
    assert again == job_ids
    assert sorted(heard_job_ids(service)) == sorted(job_ids)
    assert sorted(paid["job_id"] for paid in ledger["paid"]) == sorted(job_ids)
    assert ledger["paid_jobs"] == ledger["most_running"] == len(job_ids)
    assert ledger["minutes"] == pytest.approx(sum(paid["minutes"] for paid in ledger["paid"]))


def test_pages_go_on_after_a_restart(new_service: NewService) -> None:
    """A NextToken from before a kill leads to the same next page after it."""
    service = new_service(**AT_ONCE).start()
    rekognition = service.client("rekognition")
    for key in archive_keys(service)[:30]:
        job_id = start(rekognition, key)
        if len(before := pages(rekognition, job_id)) == 3:
            break
    service.kill()
    service.start()
    token = before[0]["NextToken"]
    after = service.client("rekognition").get_content_moderation(JobId=job_id, NextToken=token)
    assert after["ModerationLabels"] == before[1]["ModerationLabels"]
    assert len(before[2]["ModerationLabels"]) == 503


def test_jobs_that_ended_while_it_was_away_are_told_of(new_service: NewService) -> None:
    """A job whose end passed while no process ran sends its notice at the next start."""
    service = new_service(speed=20).start()
    key = archive_keys(service)[0]
    job_id = start(service.client("rekognition"), key, NotificationChannel=service.channel())
    service.kill()
    end_at(service, "started_at_ms")
    service.start()
    assert finished(service.client("rekognition"), job_id)["JobStatus"] == "SUCCEEDED"
    assert heard_job_ids(service) == [job_id]


def test_starts_under_a_hail_of_kills_are_paid_once(new_service: NewService) -> None:
    """However often the process dies, a client that repeats its calls gets one paid job for each token."""
    service = new_service(**AT_ONCE, videos=60).start()
    keys = archive_keys(service)
    answered: dict[str, set[str]] = {key: set() for key in keys}
    left = set(range(len(keys)))

    def work() -> None:
        while left:
            try:
                rekognition = service.client("rekognition")
                for place in sorted(left):
                    request = {"ClientRequestToken": f"token-{place}", "NotificationChannel": service.channel()}
                    answered[keys[place]].add(start(rekognition, keys[place], **request))
                    left.discard(place)
                    moved.release()
            except (ClientError, EndpointConnectionError, OSError, ValueError):
                continue
            except Exception as error:  # noqa: BLE001 (botocore has many names for a lost connection)
                failures.append(error)

    failures: list[Exception] = []
    moved = threading.Semaphore(0)
    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(3):
        for _ in range(7):
            moved.acquire(timeout=20)
        service.kill()
        service.start()
    worker.join(60)
    until(lambda: running(service) == 0)
    paid = service.get_json("/_ledger")["paid"]

    assert not left
    assert all(len(job_ids) == 1 for job_ids in answered.values())
    assert sorted(entry["token"] for entry in paid) == sorted(f"token-{place}" for place in range(len(keys)))
    assert {entry["job_id"] for entry in paid} == {job_id for job_ids in answered.values() for job_id in job_ids}
    assert sorted(heard_job_ids(service)) == sorted(entry["job_id"] for entry in paid)


def test_a_stopped_service_takes_its_address_away(new_service: NewService) -> None:
    """`local-service.json` names URL and process while the service runs, and is gone after an orderly end."""
    service = new_service().start()
    announcement = service.data_dir / "local-service.json"
    assert json.loads(announcement.read_text()) == {"url": service.url, "pid": service.pid}
    assert service.get_json("/healthz") == {"service": "modworker-local", "pid": service.pid}
    service.stop()
    assert not announcement.exists()


def test_a_long_poll_does_not_hold_up_the_end(new_service: NewService) -> None:
    """A receive that waits is answered with nothing when the service stops."""
    service = new_service().start()
    sqs, queue_url = service.client("sqs"), service.lane().queue_url
    answers: list[list[Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(received(sqs, queue_url, WaitTimeSeconds=20)))
    waiting.start()
    until(lambda: service.get_json("/healthz"))
    threading.Event().wait(0.2)
    service.stop()
    waiting.join(5)
    assert answers == [[]]


@pytest.mark.parametrize("same_folder", [True, False])
def test_a_second_service_is_refused_in_one_sentence(new_service: NewService, same_folder: bool) -> None:
    """A port in use, or a data folder that is served already, is a UsageError."""
    service = new_service().start()
    port = service.url.rpartition(":")[2]
    settings = {
        "database": {"data_dir": str(service.data_dir if same_folder else service.data_dir / "other")},
        "local": {"listen": "127.0.0.1:0" if same_folder else f"127.0.0.1:{port}"},
    }
    second = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.startswith("usage: ")
    assert second.stderr.count("\n") == 1
    assert (str(service.data_dir) if same_folder else port) in second.stderr

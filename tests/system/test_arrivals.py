"""New videos as they arrive: S3's event notifications in a queue, beside an archive that is worked on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote_plus

import pytest
from anyio.from_thread import BlockingPortal

from tests.aws.test_arrivals import event, record
from tests.system.checker import findings
from tests.system.conftest import Query
from tests.system.processes import WorkerProcess
from tests.system.site import Site, finished, until

BUCKET = "synthetic-archive"
LATE_SECONDS = 60.0  # more than a message takes to come back

Send = Callable[..., None]


@pytest.fixture
def queue_url(site: Site) -> str:
    """A queue that the lane's arrivals come from, at a service whose clock lets messages come back soon."""
    site.configure(local={"speed": 20})
    site.service()
    url: str = site.client("sqs").create_queue(QueueName="uploads")["QueueUrl"]
    site.configure(lanes__main__arrivals={"queue_url": url, "backfill": "uploads", "match": ["*.mp4"]})
    return url


@pytest.fixture
def uploads(site: Site, queue_url: str) -> list[str]:
    """Keys of three videos of the archive, the last ones that it has."""
    listed = site.client("s3").list_objects_v2(Bucket=BUCKET, MaxKeys=100)["Contents"]
    return [item["Key"] for item in listed[-3:]]


@pytest.fixture
def send(site: Site, queue_url: str) -> Send:
    """Sends messages to the queue of arrivals."""
    sqs = site.client("sqs")

    def send(*bodies: Any) -> None:
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            sqs.send_message(QueueUrl=queue_url, MessageBody=text)

    return send


def arrived(*keys: str) -> dict[str, Any]:
    """A message of S3's that these objects were created."""
    records = [record(quote_plus(key, safe="/")) for key in keys]
    for each in records:
        each["s3"]["bucket"]["name"] = BUCKET
    return {"Records": records}


def waiting(site: Site, queue_url: str) -> int:
    """Messages in the queue, seen or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = site.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(count) for count in found.values())


def ended(query: Query) -> set[str]:
    """Keys of the videos that have arrived and are through."""
    sql = "select key from video_status where backfill = 'uploads' and state not in ('pending', 'active')"
    return {row["key"] for row in query(sql)}


def stopped(worker: WorkerProcess) -> str:
    """What a worker that is told to stop has logged."""
    worker.terminate()
    done = finished(worker)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_arrivals_are_moderated_once_and_before_an_archive(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """Whichever way S3 tells of them, however often; what is not meant goes, and what cannot be read is kept."""
    assert site.run("enqueue", "s3://synthetic-archive/", "--name", "archive").returncode == 0
    site.configure(lanes__main={"start_per_second": 2.0})
    worker = site.start("run")
    until(lambda: site.ledger()["paid_jobs"] > 0)
    by_eventbridge = event(uploads[2], detail={"bucket": {"name": BUCKET}, "object": {"key": uploads[2]}})
    enveloped = {"Type": "Notification", "Message": json.dumps(arrived(uploads[1]))}
    send(arrived(uploads[0], "notes.txt"), arrived(uploads[0]), enveloped, by_eventbridge, "no JSON")
    send({"Service": "Amazon S3", "Event": "s3:TestEvent"})
    until(lambda: ended(query) == set(uploads), within_seconds=LATE_SECONDS)
    until(lambda: waiting(site, queue_url) == 0, within_seconds=LATE_SECONDS)
    states = query("select state from video_status where backfill = 'archive' and state = 'pending'")
    assert states, "the archive was through before anything arrived"
    send(arrived(*uploads))
    until(lambda: waiting(site, queue_url) == 0, within_seconds=LATE_SECONDS)
    assert site.run("enqueue", f"s3://{BUCKET}/{uploads[0]}", "--name", "uploads", "--budget-usd", "9").returncode == 0
    log = stopped(worker)
    assert "unreadable message put aside" in log
    [kept] = query("select body from notice_quarantine")
    assert kept["body"] == "no JSON"
    [backfill] = query("select id, priority, budget_usd from backfill where name = 'uploads'")
    assert (backfill["priority"], backfill["budget_usd"]) == (100, 9)
    paid = query("select count(*) as jobs from video where backfill_id = $1 and job_id is not null", backfill["id"])
    assert paid[0]["jobs"] == len(uploads)
    assert site.run("verify").returncode == 0


def test_worker_that_dies_before_it_deletes_a_message_registers_nothing_twice(
    site: Site, query: Query, portal: BlockingPortal, queue_url: str, uploads: list[str], send: Send
):
    """The message comes back, and tells of what is known by then."""
    send(arrived(*uploads))
    finished(site.start("run", failpoints={"DeleteMessageBatch: before": ("kill", 1)}))
    assert waiting(site, queue_url) == 1
    assert len(query("select from video")) == len(uploads)
    worker = site.start("run")
    until(lambda: waiting(site, queue_url) == 0 and ended(query) == set(uploads), within_seconds=LATE_SECONDS)
    stopped(worker)
    assert site.ledger()["paid_jobs"] == len(uploads)
    assert portal.call(partial(findings, site, registered=len(uploads))) == []


def test_arrivals_wait_while_their_backfill_takes_nothing(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """A config file that asks for other results than the backfill has loses no arrival, and other work goes on."""
    assert site.run("enqueue", f"s3://{BUCKET}/{uploads[1]}", "--name", "uploads").returncode == 0
    site.configure(moderation={"min_confidence": 60})
    send(arrived(uploads[0]))
    worker = site.start("run")
    until(lambda: ended(query) == {uploads[1]}, within_seconds=LATE_SECONDS)
    log = stopped(worker)
    assert "arrivals wait" in log
    assert "was registered with min_confidence = 50.0, the config file says 60.0" in log
    assert waiting(site, queue_url) == 1
    site.configure(moderation={"min_confidence": 50})
    worker = site.start("run")
    until(lambda: uploads[0] in ended(query) and waiting(site, queue_url) == 0, within_seconds=LATE_SECONDS)
    stopped(worker)


def test_run_until_empty_takes_what_has_arrived(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """It ends when nothing is left and the queue is empty; a queue that is not there is not waited for."""
    send(*(arrived(key) for key in uploads))
    done = site.run("run", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert ended(query) == set(uploads)
    assert waiting(site, queue_url) == 0
    site.configure(lanes__main__arrivals={"queue_url": f"{queue_url}-no-more"})
    done = site.run("run", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert "queue not readable" in done.stderr


def test_arrivals_beyond_the_budget_are_registered_and_wait(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """Their messages go, nothing is started, and more money brings them to their end."""
    site.configure(lanes__main__arrivals={"budget_usd": 0.01})
    send(arrived(*uploads))
    done = site.run("run", "--until-empty")
    assert done.returncode == 3
    assert "its budget of $0.01 is reached" in done.stderr
    assert waiting(site, queue_url) == 0
    assert len(query("select from video_status where backfill = 'uploads' and state = 'pending'")) == len(uploads)
    assert site.ledger()["paid_jobs"] == 0
    more = ("--name", "uploads", "--budget-usd", "100")
    assert site.run("enqueue", f"s3://{BUCKET}/{uploads[0]}", *more).returncode == 0
    assert site.run("run", "--until-empty").returncode == 0
    assert ended(query) == set(uploads)


def test_backfill_that_was_purged_is_made_anew_for_what_arrives(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """While the worker runs: what arrives next joins a new backfill of the name, and what was moderated may again."""
    send(arrived(uploads[0]))
    worker = site.start("run")
    until(lambda: ended(query) == {uploads[0]} and waiting(site, queue_url) == 0, within_seconds=LATE_SECONDS)
    assert site.run("purge", "uploads").returncode == 0
    assert query("select from backfill where name = 'uploads'") == []
    send(arrived(uploads[1]))
    until(lambda: ended(query) == {uploads[1]} and waiting(site, queue_url) == 0, within_seconds=2 * LATE_SECONDS)
    assert "arrivals wait" in stopped(worker)
    assert site.run("verify").returncode == 0


def test_versions_of_an_object_are_moderated_one_by_one(site: Site, query: Query, queue_url: str, send: Send):
    """Each that a message names is; one that is named again is not."""
    edge_case, key = "synthetic-edge-cases", "three-versions.mp4"
    listed = site.client("s3").list_object_versions(Bucket=edge_case, Prefix=key)["Versions"]
    versions = [found["VersionId"] for found in listed]
    assert len(versions) == 3
    for version_id in (*versions[:2], versions[0]):
        message = arrived(key)
        message["Records"][0]["s3"]["bucket"]["name"] = edge_case
        message["Records"][0]["s3"]["object"]["versionId"] = version_id
        send(message)
    done = site.run("run", "--until-empty")
    assert done.returncode == 0, done.stderr
    rows = query("select version_id, state, labels from video_status where key = $1", key)
    assert {row["version_id"] for row in rows} == set(versions[:2])
    assert {row["state"] for row in rows} == {"done"}
    assert len({row["labels"] for row in rows}) == 2
    assert site.ledger()["paid_jobs"] == 2


def test_messages_that_are_not_for_this_lane_stop_nothing(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """One that names a bucket that cannot be listed, and one that is not S3's, stay; their neighbours are moderated."""
    elsewhere = arrived(uploads[0])
    elsewhere["Records"][0]["s3"]["bucket"]["name"] = "no-such-bucket"
    send(elsewhere, {"JobId": "a1"}, arrived(uploads[1]))
    worker = site.start("run")
    until(lambda: ended(query) == {uploads[1]}, within_seconds=LATE_SECONDS)
    until(lambda: waiting(site, queue_url) == 2, within_seconds=LATE_SECONDS)
    send(arrived(uploads[2]))
    until(lambda: ended(query) == {uploads[1], uploads[2]}, within_seconds=LATE_SECONDS)
    log = stopped(worker)
    assert "bucket no-such-bucket cannot be listed" in log
    assert "foreign message left" in log
    assert waiting(site, queue_url) == 2


def test_budget_and_priority_stay_what_operators_have_made_them(
    site: Site, query: Query, queue_url: str, uploads: list[str], send: Send
):
    """The config file's are those of a new backfill; a worker that starts again does not bring them back."""
    site.configure(lanes__main__arrivals={"budget_usd": 200.0})
    terms = "select priority, budget_usd::float8 from backfill where name = 'uploads'"
    for key, expected in zip(uploads, ((100, 200.0), (7, 10.0)), strict=False):
        send(arrived(key))
        worker = site.start("run")
        until(lambda: waiting(site, queue_url) == 0, within_seconds=LATE_SECONDS)
        stopped(worker)
        assert tuple(query(terms)[0]) == expected
        changes = ("--name", "uploads", "--priority", "7", "--budget-usd", "10")
        assert site.run("enqueue", f"s3://{BUCKET}/{uploads[2]}", *changes).returncode == 0

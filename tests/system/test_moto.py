"""The worker over moto's S3, SQS, SNS and STS: what it needs of them is what others understand by these services too.

Only Rekognition is the local service, which looks objects up at moto and publishes to moto's topics. The lane is a real
one: it names a queue, a topic and a role, and takes its credentials from the environment.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from tests.system.site import Site, jobs_faster
from tests.system.truth import labels_in, labels_of_finished, rows_in, starts_by_object, states_in

REGION = "us-east-1"
ACCOUNT = "123456789012"  # moto's, for keys that it has not given out itself
PUBLISH_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/rekognition-publish"
WORKER_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/moderation"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

KEYS = 2_500
KEYS_MODERATED = 150  # moto answers about a hundred requests a second
KEYS_A_PAGE = 1_000
RUN_SECONDS = 90
TITLES = (
    "Gate",
    "two  spaces",
    "Überwachung",
    "U\N{COMBINING DIAERESIS}berwachung",
    "a+b=c&d",
    "100% #1?",
    'it\'s <live>; "take" 2',
    "🎬",
    "東京/駅前",
)
OUTSIDE = ("2025/000001.mp4", "2026.mp4", "20260/000001.mp4", "archive/2026/01/000001.mp4")


def archive_key(number: int) -> str:
    """A key below 2026/01/ of one that is moderated, below 2026/02/ of the others."""
    month = 1 if number < KEYS_MODERATED else 2
    return f"2026/{month:02d}/{number:06d} {TITLES[number % len(TITLES)]}.mp4"


def client(service: str, url: str) -> Any:
    """A plain client in moto's account."""
    return boto3.client(
        service, region_name=REGION, endpoint_url=url, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@contextmanager
def moto_server() -> Iterator[str]:
    """Run a moto server in a thread of this process, quiet but for what a test asks it to log; gives its URL."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """A moto server for the tests of one module."""
    with moto_server() as url:
        yield url


def make_bucket(moto_url: str, name: str, keys: Iterable[str]) -> Any:
    """A bucket with objects of one byte, put in beside the HTTP server, which takes 10 ms for each; gives a client."""
    s3 = client("s3", moto_url)
    s3.create_bucket(Bucket=name)
    put_objects(name, keys)
    return s3


def put_objects(bucket: str, keys: Iterable[str]) -> None:
    """Put objects of one byte into a bucket."""
    for key in keys:
        s3_backends[ACCOUNT]["aws"].put_object(bucket, key, b"x")


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic, the lane's queue, and a second queue that is subscribed alike and that nobody reads."""

    topic_arn: str
    queue_url: str
    witness_url: str


def make_channel(moto_url: str, name: str, *, is_raw: bool) -> Channel:
    """A topic with its two subscribers."""
    sns, sqs = client("sns", moto_url), client("sqs", moto_url)
    topic_arn = sns.create_topic(Name=f"AmazonRekognition-{name}")["TopicArn"]
    urls = [sqs.create_queue(QueueName=f"{name}-{part}")["QueueUrl"] for part in ("moderation", "witness")]
    for url in urls:
        queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"RawMessageDelivery": "true"} if is_raw else {}
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes=attributes)
    return Channel(topic_arn, *urls)


def messages_in(moto_url: str, queue_url: str) -> int:
    """How many messages a queue holds, visible or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = client("sqs", moto_url).get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def body_in(moto_url: str, queue_url: str) -> dict[str, Any]:
    """The body of one message."""
    [message] = client("sqs", moto_url).receive_message(QueueUrl=queue_url)["Messages"]
    body: dict[str, Any] = json.loads(message["Body"])
    return body


def configure(site: Site, moto_url: str, channel: Channel) -> None:
    """A lane of moto's account. A notice that does not come would leave its video waiting for an hour."""
    site.sections["lanes.main"] = {
        "region": REGION,
        "queue_url": channel.queue_url,
        "sns_topic_arn": channel.topic_arn,
        "publish_role_arn": PUBLISH_ROLE_ARN,
        "start_per_second": 200,
        "get_per_second": 500,
        "concurrent_jobs": 50,
        **{f"endpoints.{service}": moto_url for service in ("s3", "sqs", "sts")},
    }
    site.configure(
        moderation={"first_due_seconds": 3600},
        # At 20 even the shortest job outlasts the writing of its JobId: no notice has to come a second time.
        local=jobs_faster(20),
        local__endpoints={"s3": moto_url, "sns": moto_url},
    )


def serve(site: Site) -> Any:
    """Run the local service, lead the lane to it, and give a plain client of it."""
    site.service()
    site.configure(lanes__main={"endpoints.rekognition": site.service_url()})
    return client("rekognition", str(site.service_url()))


async def assert_moderated_by_notices(site: Site, rekognition: Any, expected: set[tuple[str, str]]) -> None:
    """Each expected object was paid once and ended as the service says, at the word of a notice; the rows are equal."""
    assert starts_by_object(site) == dict.fromkeys(expected, 1)
    paid = site.ledger()["paid"]
    ended = {"SUCCEEDED": "done", "FAILED": "failed"}
    videos = await rows_in(
        site.database_url, "select bucket, key, version_id, state from video_status where aws_job_id is not null"
    )
    assert len(videos) == len(expected)
    assert {(v["bucket"], v["key"]): (v["version_id"], v["state"]) for v in videos} == {
        (job["bucket"], job["key"]): (job["version_id"], ended[job["status"]]) for job in paid
    }
    labels = await labels_in(site.database_url)
    assert labels
    assert labels == labels_of_finished({ACCOUNT: rekognition}, paid)
    overdue = await rows_in(site.database_url, "select key from job where ready_at >= due_at or asked > 0")
    assert overdue == []


async def skipped_in(site: Site) -> dict[str, str]:
    """Key -> reason of the videos that cost nothing."""
    rows = await rows_in(site.database_url, "select key, reason from video_status where state = 'skipped'")
    return {row["key"]: row["reason"] for row in rows}


async def test_prefix_of_2500_keys_is_registered_whole_and_once(
    site: Site, moto_url: str, caplog: pytest.LogCaptureFixture
):
    """Three pages of a listing register exactly the keys below the prefix; the same source again adds none."""
    keys = [archive_key(number) for number in range(KEYS)]
    make_bucket(moto_url, "registered-videos", [*keys, *OUTSIDE, "2026/"])
    configure(site, moto_url, make_channel(moto_url, "registered", is_raw=False))
    caplog.set_level(logging.INFO, logger="werkzeug")
    first = site.run("enqueue", "s3://registered-videos/2026/", environment=ENVIRONMENT)
    assert first.returncode == 0, first.stderr
    assert "2,500 videos registered, 0" in first.stdout
    continued = [record for record in caplog.records if "continuation-token=" in record.getMessage()]
    assert len(continued) == (KEYS + 1) // KEYS_A_PAGE  # one more than the keys: the marker of the folder
    videos = await rows_in(site.database_url, "select bucket, key, state from video_status")
    assert {tuple(video) for video in videos} == {("registered-videos", key, "pending") for key in keys}

    second = site.run("enqueue", "s3://registered-videos/2026/", environment=ENVIRONMENT)
    assert second.returncode == 0, second.stderr
    assert "0 videos registered, 2,500" in second.stdout
    assert await states_in(site.database_url) == {"pending": KEYS}


async def test_backfill_over_envelopes_equals_the_services_truth(site: Site, moto_url: str):
    """150 versioned objects under odd names end as the service says, each paid once and heard of by an SNS envelope."""
    keys = [archive_key(number) for number in range(KEYS_MODERATED + 20)]
    s3 = make_bucket(moto_url, "versioned-videos", OUTSIDE)
    s3.put_bucket_versioning(Bucket="versioned-videos", VersioningConfiguration={"Status": "Enabled"})
    put_objects("versioned-videos", [*keys, keys[0]])
    s3.put_object(Bucket="versioned-videos", Key="2026/01/empty.mp4", Body=b"")
    s3.put_object(Bucket="versioned-videos", Key="2026/01/frozen.mp4", Body=b"x", StorageClass="DEEP_ARCHIVE")
    channel = make_channel(moto_url, "envelopes", is_raw=False)
    configure(site, moto_url, channel)
    rekognition = serve(site)
    done = site.run("backfill", "s3://versioned-videos/2026/01/", seconds=RUN_SECONDS, environment=ENVIRONMENT)
    assert done.returncode == 1, done.stderr  # some of the made-up videos end FAILED
    await assert_moderated_by_notices(site, rekognition, {("versioned-videos", key) for key in keys[:KEYS_MODERATED]})
    assert await skipped_in(site) == {
        "2026/01/empty.mp4": "empty: the object has no bytes",
        "2026/01/frozen.mp4": "archived: storage class DEEP_ARCHIVE; restore the object first",
    }
    assert set(await states_in(site.database_url)) == {"done", "failed", "skipped"}
    newest = s3.head_object(Bucket="versioned-videos", Key=keys[0])["VersionId"]
    [first] = await rows_in(site.database_url, "select version_id from video_status where key = $1", keys[0])
    assert first["version_id"] == newest

    assert messages_in(moto_url, channel.queue_url) == 0
    assert messages_in(moto_url, channel.witness_url) == KEYS_MODERATED
    envelope = body_in(moto_url, channel.witness_url)
    assert (envelope["Type"], envelope["TopicArn"]) == ("Notification", channel.topic_arn)
    assert json.loads(envelope["Message"])["API"] == "StartContentModeration"


async def test_backfill_over_raw_messages_in_an_assumed_role(site: Site, moto_url: str):
    """Raw notices, a manifest in place of a listing, and a role in place of plain credentials serve as well."""
    keys = [archive_key(number) for number in range(len(TITLES))]
    make_bucket(moto_url, "raw-videos", keys)
    manifest = site.folder / "videos.jsonl"
    manifest.write_text("".join(f"{json.dumps({'bucket': 'raw-videos', 'key': key})}\n" for key in [*keys, "gone.mp4"]))
    channel = make_channel(moto_url, "raw", is_raw=True)
    configure(site, moto_url, channel)
    site.configure(lanes__main={"role_arn": WORKER_ROLE_ARN})
    rekognition = serve(site)
    done = site.run("backfill", str(manifest), seconds=RUN_SECONDS, environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    await assert_moderated_by_notices(site, rekognition, {("raw-videos", key) for key in keys})
    assert await skipped_in(site) == {"gone.mp4": "gone: the object does not exist"}
    assert messages_in(moto_url, channel.queue_url) == 0
    assert messages_in(moto_url, channel.witness_url) == len(keys)
    assert body_in(moto_url, channel.witness_url)["API"] == "StartContentModeration"


def test_bucket_of_another_region_is_refused(site: Site, moto_url: str):
    """A bucket in whose region there is no lane is refused with a sentence that names the region."""
    ireland = {"LocationConstraint": "eu-west-1"}
    client("s3", moto_url).create_bucket(Bucket="videos-in-ireland", CreateBucketConfiguration=ireland)
    configure(site, moto_url, make_channel(moto_url, "refused", is_raw=False))
    refused = site.run("enqueue", "s3://videos-in-ireland/", environment=ENVIRONMENT)
    assert refused.returncode == 2, refused.stderr
    assert "bucket videos-in-ireland is in eu-west-1, where no lane is configured" in refused.stderr

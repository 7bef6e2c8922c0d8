"""Another S3 and another SNS in place of the service's own, and an analyst that really looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import boto3
import pytest
from anyio.from_thread import BlockingPortal
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from tests.local.conftest import AT_ONCE, REGION, Service, finished, notice, received
from worker.local.analysts.analysis import Analysis, Entry, ModerationLabel, StoredVideo
from worker.local.faults.faults import Faults
from worker.local.moderation.analysing_runner import AnalysingRunner
from worker.local.moderation.endings import Endings
from worker.local.moderation.notices import Notices
from worker.local.protocol.identity import Caller
from worker.local.sqs.channels import Channels
from worker.local.sqs.queues import Queues
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import NewJob

OWNER = Caller("123456789012", REGION)


@pytest.fixture
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_objects_and_topics_elsewhere(new_service: Callable[..., Service], moto_url: str) -> None:
    """Objects are looked up at the other S3, and notices go through the other SNS to its queue."""
    keys = {"region_name": REGION, "aws_access_key_id": "x", "aws_secret_access_key": "y"}
    s3, sns, sqs = (boto3.client(name, endpoint_url=moto_url, **keys) for name in ("s3", "sns", "sqs"))
    s3.create_bucket(Bucket="videos-elsewhere")
    s3.put_object(Bucket="videos-elsewhere", Key="a b/ü.mp4", Body=b"x")
    topic_arn = sns.create_topic(Name="AmazonRekognitionTest")["TopicArn"]
    queue_url = sqs.create_queue(QueueName="q")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
    service = new_service(**AT_ONCE, endpoints={"s3": moto_url, "sns": moto_url}).start()
    rekognition = service.client("rekognition")
    channel = {"SNSTopicArn": topic_arn, "RoleArn": "arn:aws:iam::123456789012:role/publish"}

    def start(key: str) -> str:
        video = {"S3Object": {"Bucket": "videos-elsewhere", "Name": key}}
        return rekognition.start_content_moderation(Video=video, NotificationChannel=channel)["JobId"]

    job_id = start("a b/ü.mp4")
    [message] = received(sqs, queue_url, WaitTimeSeconds=10)
    with pytest.raises(ClientError, match="InvalidS3ObjectException"):
        start("missing.mp4")
    assert notice(message)["JobId"] == job_id
    assert finished(rekognition, job_id)["JobStatus"] in ("SUCCEEDED", "FAILED")


class Watcher:
    """An analyst that sees the name of each video, once it may go on."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go_on = threading.Event()

    def duration_ms(self, _video: StoredVideo) -> int | None:
        return None

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:
        self.asked.append(video.key)
        assert self.may_go_on.wait(20)
        if video.key == "broken":
            return Analysis("Unsupported codec/format.", None, [])
        entry = Entry(0, ModerationLabel(min_confidence, video.key, "", 1))
        return Analysis(None, {"DurationMillis": 90_000}, [entry])


class AnyObject:
    """A store that holds every object but one."""

    async def find(self, _caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:
        return None if key == "deleted" else StoredVideo(bucket, key, version_id, 1, None)


def new_job(key: str) -> NewJob:
    topic_arn = "arn:aws:sns:us-east-1:123456789012:AmazonRekognition-nobody"
    return NewJob(key, OWNER.account, OWNER.region, "bucket", key, None, 1, 55.0, None, None, topic_arn, 1, None, None)


def test_analysed_jobs_end_with_their_analysis_and_survive(portal: BlockingPortal, tmp_path: Path) -> None:
    """Jobs are analysed in the order of their start; those a process left behind are analysed by the next one."""
    order = ["first", "broken", "deleted", "last"]

    async def run(watcher: Watcher, meanwhile: Callable[[Database, AnalysingRunner], Any]) -> None:
        database = Database(tmp_path / "local-service.sqlite", speed=1)
        faults = Faults(database.clock)
        endings = Endings(Notices(Channels({}), faults, to_sns=False), Queues(database), None, faults)
        runner = AnalysingRunner(database, endings, lambda: watcher, AnyObject(), 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run)
            await meanwhile(database, runner)
            tasks.cancel_scope.cancel()
        await database.close()

    async def start_all(database: Database, runner: AnalysingRunner) -> None:
        for key in order:
            await database.write(lambda connection, key=key: jobs.insert(connection, new_job(key)))
            runner.announce(new_job(key))
        with anyio.fail_after(10):
            while len(interrupted.asked) < 2:
                await anyio.sleep(0.01)

    async def wait_for_all(database: Database, runner: AnalysingRunner) -> None:
        watcher.may_go_on.set()
        with anyio.fail_after(10):
            while jobs.running(database.reader, OWNER):
                await anyio.sleep(0.01)
        for key in order:
            found[key] = jobs.find(database.reader, key)
        seen.append(runner.look(found["last"])())

    found: dict[str, Any] = {}
    seen: list[Analysis] = []
    interrupted, watcher = Watcher(), Watcher()
    portal.call(run, interrupted, start_all)
    interrupted.may_go_on.set()
    portal.call(run, watcher, wait_for_all)

    assert interrupted.asked == ["first", "broken"]
    assert sorted(watcher.asked) == ["broken", "first", "last"]
    assert {key: job.status for key, job in found.items()} == {
        "first": "SUCCEEDED",
        "broken": "FAILED",
        "deleted": "FAILED",
        "last": "SUCCEEDED",
    }
    assert [found[key].minutes for key in order] == [1.5, 0, 0, 1.5]
    assert seen[0].labels == [Entry(0, ModerationLabel(55.0, "last", "", 1))]

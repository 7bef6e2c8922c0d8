"""SQS queues as things: made, changed, listed, emptied, deleted."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import AT_ONCE, REGION, Service, finished, notice, received, until
from tests.local.test_service_queues import hold_more
from worker.local.accounts import account_of

ACCOUNT = account_of("queue")
SETTINGS = {
    "VisibilityTimeout": "60",
    "MessageRetentionPeriod": "3600",
    "DelaySeconds": "2",
    "ReceiveMessageWaitTimeSeconds": "3",
    "MaximumMessageSize": "2048",
}


@pytest.fixture(scope="module")
def sqs(service: Service) -> Any:
    return service.client("sqs", "queue")


def new_name() -> str:
    return f"test-{uuid.uuid4()}"


def attributes_of(sqs: Any, url: str) -> dict[str, str]:
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]).get("Attributes", {})


def arn(name: str, region: str = REGION, account: str = ACCOUNT) -> str:
    return f"arn:aws:sqs:{region}:{account}:{name}"


def redrive_to(target_arn: Any, receives: Any = 3) -> dict[str, str]:
    return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": target_arn, "maxReceiveCount": receives})}


def test_a_queue_has_the_defaults_of_aws(service: Service, sqs: Any) -> None:
    """A queue that is made without attributes has the documented ones."""
    name, made_at = new_name(), int(time.time())
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    known = attributes_of(sqs, url)
    assert url == f"{service.url}/{ACCOUNT}/{name}" == sqs.get_queue_url(QueueName=name)["QueueUrl"]
    assert made_at - 1 <= int(known.pop("CreatedTimestamp")) <= int(known.pop("LastModifiedTimestamp"))
    assert known == {
        "QueueArn": arn(name),
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "VisibilityTimeout": "30",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
    }
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "DelaySeconds"])["Attributes"]
    assert asked == {"QueueArn": arn(name), "DelaySeconds": "0"}
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url)


def test_a_queue_is_made_once(sqs: Any) -> None:
    """The same name with the same or no attributes gives the queue that is there; other values are refused."""
    name = new_name()
    url = sqs.create_queue(QueueName=name, Attributes=SETTINGS)["QueueUrl"]
    assert SETTINGS.items() <= attributes_of(sqs, url).items()
    assert sqs.create_queue(QueueName=name, Attributes=SETTINGS)["QueueUrl"] == url
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    with pytest.raises(sqs.exceptions.QueueNameExists) as error:
        sqs.create_queue(QueueName=name, Attributes=SETTINGS | {"DelaySeconds": "3"})
    assert error.value.response["Error"]["Code"] == "QueueAlreadyExists"
    assert error.value.response["Error"]["Message"].endswith("DelaySeconds")


def test_a_queue_is_of_the_region_that_made_it(service: Service) -> None:
    """A queue is there in the region of the call that made it only; its ARN names that region."""
    elsewhere, sqs = (service.client("sqs", "queue", region=region) for region in (REGION, "eu-west-1"))
    name = new_name()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert attributes_of(sqs, url)["QueueArn"] == arn(name, "eu-west-1")
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
    assert "QueueUrls" not in elsewhere.list_queues(QueueNamePrefix=name)
    for call, request in (
        (elsewhere.receive_message, {"QueueUrl": url}),
        (elsewhere.delete_queue, {"QueueUrl": url}),
        (elsewhere.get_queue_url, {"QueueName": name}),
    ):
        with pytest.raises(elsewhere.exceptions.QueueDoesNotExist):
            call(**request)


def test_queues_of_two_regions_share_a_name_and_nothing_else(service: Service) -> None:
    """Queues of one name in two regions have their own attributes, messages and handles."""
    name = new_name()
    here, there = (service.client("sqs", "queue", region=region) for region in (REGION, "eu-west-1"))
    url = here.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    assert there.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"] == url
    assert [attributes_of(sqs, url)["VisibilityTimeout"] for sqs in (here, there)] == ["5", "7"]

    here.send_message(QueueUrl=url, MessageBody="x")
    assert received(there, url, WaitTimeSeconds=0) == []
    [message] = received(here, url)
    with pytest.raises(there.exceptions.ReceiptHandleIsInvalid):
        there.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    there.delete_queue(QueueUrl=url)
    assert attributes_of(here, url)["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_a_lane_of_its_own_queue_hears_in_its_region(new_service: Callable[..., Service]) -> None:
    """A queue and a topic that a lane names are there without being made, in the lane's region only."""
    account, queue = "111122223333", "https://sqs.eu-west-1.amazonaws.com/111122223333/notices"
    channel = {
        "SNSTopicArn": f"arn:aws:sns:eu-west-1:{account}:AmazonRekognition-done",
        "RoleArn": f"arn:aws:iam::{account}:role/publish",
    }
    service = new_service(**AT_ONCE)
    service.settings["lanes"] = {
        "named": {
            "region": "eu-west-1",
            "queue_url": queue,
            "sns_topic_arn": channel["SNSTopicArn"],
            "publish_role_arn": channel["RoleArn"],
        }
    }
    service.start()
    rekognition = service.client("rekognition", region="eu-west-1")
    video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": "one-label.mp4"}}
    job_id = rekognition.start_content_moderation(Video=video, NotificationChannel=channel)["JobId"]
    [message] = received(service.client("sqs", region="eu-west-1"), queue)
    assert notice(message)["JobId"] == job_id
    elsewhere = service.client("sqs")
    with pytest.raises(elsewhere.exceptions.QueueDoesNotExist):
        elsewhere.receive_message(QueueUrl=queue)


def test_topics_reach_queues_of_their_own_region(new_service: Callable[..., Service]) -> None:
    """Topics of one name in two regions reach each its own region's queue, be it a lane's or any other."""
    service = new_service(**AT_ONCE).start()
    account, regions = account_of("main"), (REGION, "eu-west-1")
    started: dict[tuple[str, str], str] = {}
    for region in regions:
        service.client("sqs", region=region).create_queue(QueueName="made")
        for name in ("main", "made"):
            channel = {
                "SNSTopicArn": f"arn:aws:sns:{region}:{account}:AmazonRekognition-{name}",
                "RoleArn": f"arn:aws:iam::{account}:role/publish",
            }
            video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": "one-label.mp4"}}
            rekognition = service.client("rekognition", region=region)
            job_id = rekognition.start_content_moderation(Video=video, NotificationChannel=channel)["JobId"]
            finished(rekognition, job_id)
            started[region, name] = job_id
    for (region, name), job_id in started.items():
        messages = received(service.client("sqs", region=region), f"{service.url}/{account}/{name}")
        assert [notice(message)["JobId"] for message in messages] == [job_id]


@pytest.mark.parametrize(
    ("name", "attributes", "code"),
    [
        ("q.fifo", {}, "InvalidParameterValue"),
        ("a b", {}, "InvalidParameterValue"),
        ("x" * 81, {}, "InvalidParameterValue"),
        ("", {}, "InvalidParameterValue"),
        ("q", {"FifoQueue": "true"}, "InvalidAttributeName"),
        ("q", {"QueueArn": "x"}, "InvalidAttributeName"),
        ("q", {"Colour": "red"}, "InvalidAttributeName"),
        ("q", {"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ("q", {"VisibilityTimeout": "-1"}, "InvalidAttributeValue"),
        ("q", {"VisibilityTimeout": "soon"}, "InvalidAttributeValue"),
        ("q", {"VisibilityTimeout": ""}, "InvalidAttributeValue"),
        ("q", {"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ("q", {"MessageRetentionPeriod": "1209601"}, "InvalidAttributeValue"),
        ("q", {"DelaySeconds": "901"}, "InvalidAttributeValue"),
        ("q", {"ReceiveMessageWaitTimeSeconds": "21"}, "InvalidAttributeValue"),
        ("q", {"MaximumMessageSize": "1023"}, "InvalidAttributeValue"),
        ("q", {"MaximumMessageSize": "1048577"}, "InvalidAttributeValue"),
        ("q", {"Policy": "no JSON"}, "InvalidAttributeValue"),
        ("q", {"RedriveAllowPolicy": '{"redrivePermission": "byQueue"}'}, "InvalidAttributeValue"),
        ("q", {"RedrivePolicy": "no JSON"}, "InvalidParameterValue"),
        ("q", {"RedrivePolicy": "{}"}, "InvalidParameterValue"),
        ("q", redrive_to("dummy"), "InvalidParameterValue"),
        ("q", redrive_to(arn("missing")), "InvalidParameterValue"),
        ("q", redrive_to(arn("queue", region="eu-west-1")), "InvalidParameterValue"),
        ("q", redrive_to(arn("failures", account=account_of("failures"))), "InvalidParameterValue"),
        ("q", redrive_to(arn("queue"), 0), "InvalidParameterValue"),
        ("q", redrive_to(arn("queue"), 1001), "InvalidParameterValue"),
    ],
)
def test_bad_queues_are_refused(sqs: Any, name: str, attributes: dict[str, str], code: str) -> None:
    """A name or an attribute that no standard queue can have makes no queue."""
    name = new_name() if name == "q" else name
    with pytest.raises(ClientError) as error:
        sqs.create_queue(QueueName=name, Attributes=attributes)
    assert error.value.response["Error"]["Code"] == code
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name or "none-has-an-empty-name")


def test_attributes_are_changed_one_by_one(sqs: Any) -> None:
    """What is set changes, the rest stays, and an empty document takes its attribute away."""
    name, dead = new_name(), new_name()
    url = sqs.create_queue(QueueName=name, Attributes=SETTINGS)["QueueUrl"]
    sqs.create_queue(QueueName=dead)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0090", **redrive_to(arn(dead), "5")})
    known = attributes_of(sqs, url)
    assert (SETTINGS | {"VisibilityTimeout": "90"}).items() <= known.items()
    assert json.loads(known["RedrivePolicy"]) == {"deadLetterTargetArn": arn(dead), "maxReceiveCount": 5}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "RedrivePolicy" not in attributes_of(sqs, url)
    with pytest.raises(sqs.exceptions.InvalidAttributeValue):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1", "VisibilityTimeout": "x"})
    assert attributes_of(sqs, url)["DelaySeconds"] == SETTINGS["DelaySeconds"]


def test_a_queue_is_not_its_own_dead_letter_queue(sqs: Any) -> None:
    """A redrive policy names another queue."""
    name = new_name()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.set_queue_attributes(QueueUrl=url, Attributes=redrive_to(arn(name)))


def test_a_dead_letter_queue_chooses_its_sources(sqs: Any) -> None:
    """RedriveAllowPolicy keeps other queues from using the queue as their dead-letter queue."""
    source, other, dead = new_name(), new_name(), new_name()
    allow = {"redrivePermission": "byQueue", "sourceQueueArns": [arn(source)]}
    dead_url = sqs.create_queue(QueueName=dead, Attributes={"RedriveAllowPolicy": json.dumps(allow)})["QueueUrl"]
    source_url = sqs.create_queue(QueueName=source, Attributes=redrive_to(arn(dead)))["QueueUrl"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.create_queue(QueueName=other, Attributes=redrive_to(arn(dead)))
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead_url)["queueUrls"] == [source_url]


def test_queues_are_listed_in_pages(sqs: Any) -> None:
    """Lists hold the account's queues that begin with the prefix, page by page where a page's size is asked for."""
    prefix = new_name()
    dead_url = sqs.create_queue(QueueName=f"dead-{prefix}")["QueueUrl"]
    target = redrive_to(arn(f"dead-{prefix}"))
    urls = [sqs.create_queue(QueueName=f"{prefix}-{n}", Attributes=target)["QueueUrl"] for n in range(5)]
    for call, request, member in (
        ("list_queues", {"QueueNamePrefix": prefix}, "QueueUrls"),
        ("list_dead_letter_source_queues", {"QueueUrl": dead_url}, "queueUrls"),
    ):
        pages = list(sqs.get_paginator(call).paginate(**request, PaginationConfig={"PageSize": 2}))
        assert [page[member] for page in pages] == [urls[:2], urls[2:4], urls[4:]]
        whole = getattr(sqs, call)(**request)
        assert whole[member] == urls
        assert "NextToken" not in whole
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            getattr(sqs, call)(**request, MaxResults=1_001)
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            getattr(sqs, call)(**request, MaxResults=2, NextToken="?")
    assert sqs.list_dead_letter_source_queues(QueueUrl=urls[0])["queueUrls"] == []


def test_a_queue_of_a_lane_is_there_by_itself(service: Service) -> None:
    """A lane's queue needs no making, is listed, keeps messages for 14 days, and takes attributes like any other."""
    sqs, url = service.client("sqs", "unmade"), service.lane("unmade").queue_url
    account = account_of("unmade")
    assert sqs.list_queues(QueueNamePrefix="unm")["QueueUrls"] == [url]
    assert sqs.create_queue(QueueName="unmade")["QueueUrl"] == url
    assert attributes_of(sqs, url)["MessageRetentionPeriod"] == "1209600"

    dead_url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"VisibilityTimeout": "0", **redrive_to(arn("dead", account=account), 1)}
    )
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert len(received(sqs, url)) == 1
    assert received(sqs, url, WaitTimeSeconds=0) == []
    assert [message["Body"] for message in received(sqs, dead_url)] == ["x"]

    sqs.send_message(QueueUrl=url, MessageBody="y")
    sqs.delete_queue(QueueUrl=url)
    known = attributes_of(sqs, url)
    assert (known["VisibilityTimeout"], known["ApproximateNumberOfMessages"]) == ("30", "0")


def test_a_purge_takes_every_message(sqs: Any) -> None:
    """A purge removes visible, delayed and held messages; the next one has to wait for 60 seconds."""
    url = sqs.create_queue(QueueName=new_name())["QueueUrl"]
    for delay_seconds in (0, 0, 900):
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=delay_seconds)
    received(sqs, url, MaxNumberOfMessages=1)
    sqs.purge_queue(QueueUrl=url)
    known = attributes_of(sqs, url)
    assert {value for name, value in known.items() if name.startswith("ApproximateNumber")} == {"0"}
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress) as error:
        sqs.purge_queue(QueueUrl=url)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_deleted_queue_is_gone(new_service: Callable[..., Service]) -> None:
    """A deleted queue is not there; its name is free again after 60 seconds, for a queue without its past.

    Nor does the new queue have what a service that was killed meanwhile had no time to remove.
    """
    service = new_service(speed=60).start()
    sqs = service.client("sqs", "queue")
    url = sqs.create_queue(QueueName="short-lived", Attributes=SETTINGS)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.delete_queue(QueueUrl=url)
    for call in (sqs.receive_message, sqs.delete_queue, sqs.get_queue_attributes):
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            call(QueueUrl=url)
    assert sqs.list_queues(QueueNamePrefix="short").get("QueueUrls") is None
    with pytest.raises(sqs.exceptions.QueueDeletedRecently):
        sqs.create_queue(QueueName="short-lived")
    service.kill()
    hold_more(service, f"{ACCOUNT}/{REGION}/short-lived", 3)
    service.start()
    sqs = service.client("sqs", "queue")

    def made() -> str | None:
        try:
            return sqs.create_queue(QueueName="short-lived")["QueueUrl"]
        except sqs.exceptions.QueueDeletedRecently:
            return None

    known = attributes_of(sqs, until(made))
    assert (known["VisibilityTimeout"], known["ApproximateNumberOfMessagesNotVisible"]) == ("30", "0")


def test_queues_outlive_a_killed_service(new_service: Callable[..., Service]) -> None:
    """Queues, their attributes, their messages and the handles of those in flight survive the process."""
    service = new_service().start()
    sqs = service.client("sqs", "queue")
    sqs.create_queue(QueueName="dead")
    url = sqs.create_queue(QueueName="durable", Attributes=SETTINGS | redrive_to(arn("dead")))["QueueUrl"]
    hello = {"Hello": {"DataType": "String", "StringValue": "There"}}
    for body in ("held", "waiting"):
        sqs.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=0, MessageAttributes=hello)
    [held] = received(sqs, url, MaxNumberOfMessages=1)
    before = attributes_of(sqs, url)
    service.kill()
    service.start()
    sqs = service.client("sqs", "queue")
    url = sqs.get_queue_url(QueueName="durable")["QueueUrl"]

    assert attributes_of(sqs, url) == before
    [waiting] = received(sqs, url, MessageAttributeNames=["All"])
    assert {held["Body"], waiting["Body"]} == {"held", "waiting"}
    assert waiting["MessageAttributes"] == hello
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0)
    assert [message["MessageId"] for message in received(sqs, url)] == [held["MessageId"]]

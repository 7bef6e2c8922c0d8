"""SQS as the service shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import Service, received, until

MD5_OF_GREETING = "5bcbe0075ddc6d14f2e222e91da03b42"  # of "Grüße 🎬" in UTF-8, by md5sum


@pytest.fixture
def sqs(service: Service) -> Any:
    return service.client("sqs", "queue")


@pytest.fixture
def queue_url(service: Service, sqs: Any) -> Iterator[str]:
    url = service.lane("queue").queue_url
    yield url
    sqs.purge_queue(QueueUrl=url)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_a_message_is_hidden_for_its_visibility_timeout(sqs: Any, queue_url: str) -> None:
    """A received message comes back after its timeout, under a new handle, with its receives counted."""
    sent = sqs.send_message(QueueUrl=queue_url, MessageBody="Grüße 🎬")
    [first] = received(sqs, queue_url, VisibilityTimeout=1, AttributeNames=["All"])
    assert received(sqs, queue_url, WaitTimeSeconds=0) == []
    [second] = received(sqs, queue_url, MessageSystemAttributeNames=["ApproximateReceiveCount"])

    assert first["Body"] == "Grüße 🎬"
    assert first["MessageId"] == second["MessageId"] == sent["MessageId"]
    assert first["MD5OfBody"] == sent["MD5OfMessageBody"] == MD5_OF_GREETING
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}


def test_a_waiting_receive_wakes_at_once(sqs: Any, queue_url: str, service: Service) -> None:
    """A long poll is answered when a message arrives, and gives up after its time."""
    answers: list[tuple[float, list[Any]]] = []

    def wait() -> None:
        messages = received(service.client("sqs", "queue"), queue_url, WaitTimeSeconds=20)
        answers.append((time.monotonic(), messages))

    waiting = threading.Thread(target=wait)
    waiting.start()
    threading.Event().wait(0.5)
    sent_at = time.monotonic()
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    waiting.join(10)
    began_at = time.monotonic()

    assert [message["Body"] for _, messages in answers for message in messages] == ["x"]
    assert answers[0][0] - sent_at < 2
    assert received(sqs, queue_url, WaitTimeSeconds=1) == []
    assert 0.9 < time.monotonic() - began_at < 3


def test_messages_are_handed_to_one_receiver(service: Service, sqs: Any, queue_url: str) -> None:
    """Receivers that compete get each message once."""
    for number in range(60):
        sqs.send_message(QueueUrl=queue_url, MessageBody=str(number))
    got: list[str] = []

    def drain() -> None:
        mine = service.client("sqs", "queue")
        while messages := received(mine, queue_url, WaitTimeSeconds=0, MaxNumberOfMessages=3):
            got.extend(message["Body"] for message in messages)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(got, key=int) == [str(number) for number in range(60)]


def test_batches_report_each_entry(sqs: Any, queue_url: str) -> None:
    """Of a batch the good entries are done and the bad ones reported."""
    for number in range(3):
        sqs.send_message(QueueUrl=queue_url, MessageBody=str(number))
    messages = received(sqs, queue_url)
    entries = [{"Id": f"m{place}", "ReceiptHandle": m["ReceiptHandle"]} for place, m in enumerate(messages)]
    bad = {"Id": "bad", "ReceiptHandle": "unreadable"}
    changed = sqs.change_message_visibility_batch(
        QueueUrl=queue_url, Entries=[{**entry, "VisibilityTimeout": 0} for entry in [*entries[:2], bad]]
    )
    back = received(sqs, queue_url)
    deleted = sqs.delete_message_batch(
        QueueUrl=queue_url,
        Entries=[*({"Id": f"b{place}", "ReceiptHandle": m["ReceiptHandle"]} for place, m in enumerate(back)), bad],
    )

    assert [entry["Id"] for entry in changed["Successful"]] == ["m0", "m1"]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in changed["Failed"]] == [
        ("bad", "ReceiptHandleIsInvalid", True)
    ]
    assert {message["MessageId"] for message in back} == {message["MessageId"] for message in messages[:2]}
    assert [entry["Id"] for entry in deleted["Successful"]] == ["b0", "b1"]
    assert [entry["Id"] for entry in deleted["Failed"]] == ["bad"]
    assert counted(sqs, queue_url) == (0, 1)


def counted(sqs: Any, queue_url: str) -> tuple[int, int]:
    """Visible messages, and those handed out."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])


def test_a_deleted_message_stays_away(sqs: Any, queue_url: str) -> None:
    """A deleted message never comes back; a handle from before a later receive deletes nothing."""
    for body in ("kept", "deleted"):
        sqs.send_message(QueueUrl=queue_url, MessageBody=body)
    first = {message["Body"]: message for message in received(sqs, queue_url, VisibilityTimeout=1)}
    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=first["deleted"]["ReceiptHandle"])
    [again] = received(sqs, queue_url)
    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=first["kept"]["ReceiptHandle"])
    assert again["Body"] == "kept"
    assert counted(sqs, queue_url) == (0, 1)
    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=again["ReceiptHandle"])
    assert counted(sqs, queue_url) == (0, 0)


def test_delayed_messages_are_not_visible_yet(sqs: Any, queue_url: str) -> None:
    """DelaySeconds holds a message back, and a long poll waits for it."""
    sqs.send_message(QueueUrl=queue_url, MessageBody="later", DelaySeconds=1)
    assert received(sqs, queue_url, WaitTimeSeconds=0) == []
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessagesDelayed"])
    assert attributes["Attributes"] == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert [message["Body"] for message in received(sqs, queue_url)] == ["later"]


def test_a_queue_is_found_whatever_the_port(sqs: Any, queue_url: str) -> None:
    """A queue's URL from an earlier address of the service still names the queue."""
    sqs.send_message(QueueUrl=queue_url.replace("127.0.0.1", "localhost"), MessageBody="x")
    assert sqs.get_queue_url(QueueName="queue")["QueueUrl"] == queue_url
    until(lambda: counted(sqs, queue_url) == (1, 0))


def test_faults_are_answered_with_the_codes_of_aws(sqs: Any, queue_url: str) -> None:
    """Unknown queues, bad values, empty and ambiguous batches are refused with SQS's own codes."""
    missing = queue_url + "-missing"
    entry = {"Id": "a", "ReceiptHandle": "1-x"}
    wrong: list[tuple[str, Any]] = [
        ("AWS.SimpleQueueService.NonExistentQueue", lambda: sqs.receive_message(QueueUrl=missing)),
        ("AWS.SimpleQueueService.NonExistentQueue", lambda: sqs.get_queue_url(QueueName="missing")),
        ("InvalidParameterValue", lambda: sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=11)),
        ("InvalidParameterValue", lambda: sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=21)),
        ("InvalidParameterValue", lambda: sqs.send_message(QueueUrl=queue_url, MessageBody="")),
        ("ReceiptHandleIsInvalid", lambda: sqs.delete_message(QueueUrl=queue_url, ReceiptHandle="?")),
        (
            "AWS.SimpleQueueService.MessageNotInflight",
            lambda: sqs.change_message_visibility(QueueUrl=queue_url, ReceiptHandle="1-x", VisibilityTimeout=1),
        ),
        ("AWS.SimpleQueueService.EmptyBatchRequest", lambda: sqs.delete_message_batch(QueueUrl=queue_url, Entries=[])),
        (
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            lambda: sqs.delete_message_batch(QueueUrl=queue_url, Entries=[entry, entry]),
        ),
        (
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            lambda: sqs.delete_message_batch(
                QueueUrl=queue_url, Entries=[{**entry, "Id": str(number)} for number in range(11)]
            ),
        ),
    ]
    for code, call in wrong:
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == code
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400

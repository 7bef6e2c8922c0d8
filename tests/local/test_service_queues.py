"""Messages of SQS queues as the service shows them."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import AT_ONCE, REGION, Service, archive_keys, notice, received, start, until
from worker.local.accounts import account_of

MD5_OF_GREETING = "5bcbe0075ddc6d14f2e222e91da03b42"  # of "Grüße 🎬" in UTF-8, by md5sum


@pytest.fixture(scope="module")
def sqs(service: Service) -> Any:
    return service.client("sqs", "queue")


@pytest.fixture
def queue_url(service: Service, sqs: Any) -> Iterator[str]:
    url = sqs.create_queue(QueueName=f"test-{uuid.uuid4()}")["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def arn_of(sqs: Any, queue_url: str) -> str:
    asked = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return asked["Attributes"]["QueueArn"]


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
    assert sqs.get_queue_url(QueueName=queue_url.rpartition("/")[2])["QueueUrl"] == queue_url
    until(lambda: counted(sqs, queue_url) == (1, 0))


def test_faults_are_answered_with_the_codes_of_aws(sqs: Any, queue_url: str) -> None:
    """Each fault has SQS's code, status and exception class."""
    missing = queue_url + "-missing"
    x = {"Id": "a", "ReceiptHandle": "x"}
    entry = {"Id": "a", "MessageBody": "x"}
    prefix = "AWS.SimpleQueueService."
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    [message] = received(sqs, queue_url)
    other_url = sqs.create_queue(QueueName=f"other-{uuid.uuid4()}")["QueueUrl"]
    handle = message["ReceiptHandle"]
    errors = sqs.exceptions
    wrong: list[tuple[str, int, type[ClientError], Callable[..., Any], dict[str, Any]]] = [
        (prefix + "NonExistentQueue", 400, errors.QueueDoesNotExist, sqs.receive_message, {"QueueUrl": missing}),
        (prefix + "NonExistentQueue", 400, errors.QueueDoesNotExist, sqs.get_queue_url, {"QueueName": "missing"}),
        ("InvalidAddress", 404, errors.InvalidAddress, sqs.receive_message, {"QueueUrl": "http://127.0.0.1/queue"}),
        ("InvalidParameterValue", 400, ClientError, sqs.receive_message, {"MaxNumberOfMessages": 11}),
        ("InvalidParameterValue", 400, ClientError, sqs.receive_message, {"MaxNumberOfMessages": 0}),
        ("InvalidParameterValue", 400, ClientError, sqs.receive_message, {"WaitTimeSeconds": 21}),
        ("InvalidParameterValue", 400, ClientError, sqs.receive_message, {"VisibilityTimeout": 43_201}),
        ("InvalidAttributeName", 400, errors.InvalidAttributeName, sqs.receive_message, {"AttributeNames": ["Age"]}),
        ("MissingParameter", 400, ClientError, sqs.send_message, {"MessageBody": ""}),
        ("InvalidParameterValue", 400, ClientError, sqs.send_message, {"MessageBody": "x", "DelaySeconds": 901}),
        ("InvalidParameterValue", 400, ClientError, sqs.send_message, {"MessageBody": "x", "MessageGroupId": "a b"}),
        (
            "InvalidParameterValue",
            400,
            ClientError,
            sqs.send_message,
            {
                "MessageBody": "x",
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "Binary", "StringValue": "x"}},
            },
        ),
        ("InvalidMessageContents", 400, errors.InvalidMessageContents, sqs.send_message, {"MessageBody": "\x00"}),
        ("InvalidMessageContents", 400, errors.InvalidMessageContents, sqs.send_message, {"MessageBody": "\ufffe"}),
        ("InvalidParameterValue", 400, ClientError, sqs.send_message, {"MessageBody": "ü" * 524_289}),
        ("ReceiptHandleIsInvalid", 404, errors.ReceiptHandleIsInvalid, sqs.delete_message, {"ReceiptHandle": "?"}),
        (
            "ReceiptHandleIsInvalid",
            404,
            errors.ReceiptHandleIsInvalid,
            sqs.delete_message,
            {"ReceiptHandle": handle, "QueueUrl": other_url},
        ),
        (prefix + "EmptyBatchRequest", 400, errors.EmptyBatchRequest, sqs.delete_message_batch, {"Entries": []}),
        (
            prefix + "BatchEntryIdsNotDistinct",
            400,
            errors.BatchEntryIdsNotDistinct,
            sqs.delete_message_batch,
            {"Entries": [x, x]},
        ),
        (
            prefix + "TooManyEntriesInBatchRequest",
            400,
            errors.TooManyEntriesInBatchRequest,
            sqs.delete_message_batch,
            {"Entries": [{**x, "Id": str(number)} for number in range(11)]},
        ),
        (
            prefix + "InvalidBatchEntryId",
            400,
            errors.InvalidBatchEntryId,
            sqs.send_message_batch,
            {"Entries": [entry | {"Id": "a b"}]},
        ),
        (
            prefix + "BatchRequestTooLong",
            400,
            errors.BatchRequestTooLong,
            sqs.send_message_batch,
            {"Entries": [{"Id": str(number), "MessageBody": "x" * 524_289} for number in range(2)]},
        ),
    ]
    for code, status, kind, call, request in wrong:
        queue = {} if "QueueName" in request else {"QueueUrl": queue_url}
        with pytest.raises(kind) as error:
            call(**queue | request)
        assert code_of(error) == code, request
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status, request


ATTRIBUTES = {
    "General": {"DataType": "String", "StringValue": "Kenobi"},
    "Hello": {"DataType": "String", "StringValue": "There"},
    "Help.Me": {"DataType": "String", "StringValue": "Me"},
}
BINARY = {
    "attr1": {
        "DataType": "Binary",
        "BinaryValue": b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01",
    }
}


@pytest.mark.parametrize(
    ("attributes", "asked", "digest", "names"),
    [  # the digests are of AWS
        (ATTRIBUTES, ["All"], "4c360f3fdafd970e05fae2f149d997f5", {"General", "Hello", "Help.Me"}),
        (ATTRIBUTES, [".*"], "4c360f3fdafd970e05fae2f149d997f5", {"General", "Hello", "Help.Me"}),
        (ATTRIBUTES, ["Hello", "General", "None"], "fca026605781cb4126a1e9044df24232", {"General", "Hello"}),
        (ATTRIBUTES, ["Hello"], "a311262e065454b75da111d535b8dacd", {"Hello"}),
        (ATTRIBUTES, ["Hel.*"], "83fee93c1bcd8b9a5a923ffacdc636c7", {"Hello", "Help.Me"}),
        (ATTRIBUTES, ["None"], None, set()),
        (ATTRIBUTES, [], None, set()),
        (BINARY, ["attr1"], "8cbe4db156db8a94db8b801b7addb984", {"attr1"}),
    ],
)
def test_message_attributes_come_as_they_were_sent(
    sqs: Any, queue_url: str, attributes: dict[str, Any], asked: list[str], digest: str | None, names: set[str]
) -> None:
    """A receive gives the attributes that it names, with AWS's digest of them."""
    sqs.send_message(QueueUrl=queue_url, MessageBody="x", MessageAttributes=attributes)
    [message] = received(sqs, queue_url, MessageAttributeNames=asked)
    assert message.get("MD5OfMessageAttributes") == digest
    assert message.get("MessageAttributes", {}) == {name: attributes[name] for name in names}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS.x", {"DataType": "String", "StringValue": "x"}),
        ("a..b", {"DataType": "String", "StringValue": "x"}),
        ("x", {"DataType": "String", "StringValue": ""}),
        ("x", {"DataType": "Text", "StringValue": "x"}),
        ("x", {"DataType": "Number", "StringValue": "many"}),
        ("x", {"DataType": "Binary", "StringValue": "x"}),
        ("x", {"DataType": "String", "BinaryValue": b"x"}),
        ("x" * 257, {"DataType": "String", "StringValue": "x"}),
    ],
)
def test_bad_message_attributes_are_refused(sqs: Any, queue_url: str, name: str, value: dict[str, str]) -> None:
    """An attribute needs a good name, a known type, and a value of it; in a batch its entry alone fails."""
    bad = {"MessageBody": "x", "MessageAttributes": {name: value}}
    with pytest.raises(ClientError) as error:
        sqs.send_message(QueueUrl=queue_url, **bad)
    answer = sqs.send_message_batch(
        QueueUrl=queue_url, Entries=[{"Id": "bad", **bad}, {"Id": "good", "MessageBody": "y"}]
    )
    assert code_of(error) == "InvalidParameterValue"
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("bad", "InvalidParameterValue")]
    assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
    assert counted(sqs, queue_url) == (1, 0)


def test_a_batch_sends_its_good_entries(sqs: Any, queue_url: str) -> None:
    """Of a batch the good messages are sent, each with its own delay, and each bad one is reported."""
    answer = sqs.send_message_batch(
        QueueUrl=queue_url,
        Entries=[
            {"Id": "now", "MessageBody": "now", "MessageAttributes": {"Hello": ATTRIBUTES["Hello"]}},
            {"Id": "later", "MessageBody": "later", "DelaySeconds": 900},
            {"Id": "bad", "MessageBody": "a\x01b"},
        ],
    )
    [message] = received(sqs, queue_url, MessageAttributeNames=["All"])
    assert [entry["Id"] for entry in answer["Successful"]] == ["now", "later"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("bad", "InvalidMessageContents")]
    assert answer["Successful"][0]["MessageId"] == message["MessageId"]
    assert answer["Successful"][0]["MD5OfMessageAttributes"] == message["MD5OfMessageAttributes"]


def test_system_attributes_by_either_parameter(sqs: Any, queue_url: str) -> None:
    """A receive gives the system attributes that it names in either list, those of the sender among them."""
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    before_ms = time.time_ns() // 1_000_000 - 1
    sqs.send_message(QueueUrl=queue_url, MessageBody="x", MessageSystemAttributes=trace, MessageGroupId="tenant")
    [first] = received(sqs, queue_url, MessageSystemAttributeNames=["All"], VisibilityTimeout=0)
    [second] = received(sqs, queue_url, AttributeNames=["SentTimestamp"], MessageSystemAttributeNames=["SenderId"])

    known = first["Attributes"]
    assert known["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
    assert known["MessageGroupId"] == "tenant"
    assert known["ApproximateReceiveCount"] == "1"
    assert before_ms <= int(known["SentTimestamp"]) <= int(known["ApproximateFirstReceiveTimestamp"])
    assert second["Attributes"] == {name: known[name] for name in ("SentTimestamp", "SenderId")}


def test_visibility_ends_twelve_hours_after_the_receive(sqs: Any, queue_url: str) -> None:
    """The timeout of a message can be extended, but not past 12 hours from its receive."""
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    [message] = received(sqs, queue_url)
    held = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]}
    sqs.change_message_visibility(**held, VisibilityTimeout=43_199)
    until(lambda: refusal_of(sqs.change_message_visibility, **held, VisibilityTimeout=43_200))
    assert refusal_of(sqs.change_message_visibility, **held, VisibilityTimeout=43_200) == "InvalidParameterValue"


def refusal_of(call: Callable[..., Any], **request: Any) -> str | None:
    try:
        call(**request)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def test_only_a_message_in_flight_can_be_hidden(sqs: Any, queue_url: str) -> None:
    """A message that came back is not in flight; one that is gone, or another's by now, is not there to be hidden."""
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    [first] = received(sqs, queue_url)
    held = {"QueueUrl": queue_url, "ReceiptHandle": first["ReceiptHandle"]}
    sqs.change_message_visibility(**held, VisibilityTimeout=0)
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(**held, VisibilityTimeout=1)
    [second] = received(sqs, queue_url)
    assert refusal_of(sqs.change_message_visibility, **held, VisibilityTimeout=1) == "InvalidParameterValue"
    held["ReceiptHandle"] = second["ReceiptHandle"]
    sqs.delete_message(**held)
    sqs.delete_message(**held)
    assert refusal_of(sqs.change_message_visibility, **held, VisibilityTimeout=1) == "InvalidParameterValue"


def test_the_defaults_of_a_queue_hold_for_its_messages(sqs: Any, queue_url: str) -> None:
    """Delay, visibility timeout, wait and size that a request leaves out are the queue's."""
    sqs.set_queue_attributes(
        QueueUrl=queue_url,
        Attributes={
            "DelaySeconds": "1",
            "VisibilityTimeout": "0",
            "ReceiveMessageWaitTimeSeconds": "5",
            "MaximumMessageSize": "1024",
        },
    )
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    assert sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=0).get("Messages") is None
    [message] = sqs.receive_message(QueueUrl=queue_url)["Messages"]
    [again] = sqs.receive_message(QueueUrl=queue_url)["Messages"]
    assert again["MessageId"] == message["MessageId"]
    assert refusal_of(sqs.send_message, QueueUrl=queue_url, MessageBody="x" * 1025) == "InvalidParameterValue"


def test_messages_that_fail_again_and_again_are_set_aside(sqs: Any, queue_url: str) -> None:
    """After maxReceiveCount receives a message goes to the dead-letter queue, the same message as before."""
    dead_url = sqs.create_queue(QueueName=f"dead-{uuid.uuid4()}")["QueueUrl"]
    policy = f'{{"deadLetterTargetArn": "{arn_of(sqs, dead_url)}", "maxReceiveCount": "2"}}'
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"RedrivePolicy": policy})
    for number in range(25):
        sqs.send_message(QueueUrl=queue_url, MessageBody=str(number))
    sent: dict[str, Any] = {}
    for _ in range(2):
        batches = [received(sqs, queue_url, AttributeNames=["All"], WaitTimeSeconds=0) for _ in range(3)]
        messages = [message for batch in batches for message in batch]
        assert sorted(int(message["Body"]) for message in messages) == list(range(25))
        sent |= {message["MessageId"]: message for message in messages}
        for message in messages:
            held = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]}
            sqs.change_message_visibility(**held, VisibilityTimeout=0)
    fresh = sqs.send_message(QueueUrl=queue_url, MessageBody="fresh")["MessageId"]

    assert [message["MessageId"] for message in received(sqs, queue_url, WaitTimeSeconds=0)] == [fresh]
    assert counted(sqs, queue_url) == (0, 1)
    assert counted(sqs, dead_url) == (25, 0)
    for message in received(sqs, dead_url, AttributeNames=["All"]):
        before, now = sent[message["MessageId"]]["Attributes"], message["Attributes"]
        assert now["SentTimestamp"] == before["SentTimestamp"]
        assert now["ApproximateReceiveCount"] == "3"
        assert now["DeadLetterQueueSourceArn"] == arn_of(sqs, queue_url)
    sources = sqs.list_dead_letter_source_queues(QueueUrl=dead_url)
    assert sources["queueUrls"] == [queue_url]
    sqs.delete_queue(QueueUrl=dead_url)


def test_a_poll_of_the_dead_letter_queue_hears_of_a_move(service: Service, sqs: Any, queue_url: str) -> None:
    """A long poll of the dead-letter queue is answered when a message is moved there; a deleted one takes none."""
    dead_url = sqs.create_queue(QueueName=f"dead-{uuid.uuid4()}")["QueueUrl"]
    policy = f'{{"deadLetterTargetArn": "{arn_of(sqs, dead_url)}", "maxReceiveCount": 1}}'
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
    got: list[list[Any]] = []
    other = service.client("sqs", "queue")
    waiting = threading.Thread(target=lambda: got.append(received(other, dead_url, WaitTimeSeconds=20)))
    waiting.start()
    threading.Event().wait(0.3)
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    received(sqs, queue_url)
    assert received(sqs, queue_url, WaitTimeSeconds=0) == []
    waiting.join(10)
    assert [message["Body"] for message in got[0]] == ["x"]

    sqs.delete_queue(QueueUrl=dead_url)
    sqs.send_message(QueueUrl=queue_url, MessageBody="y")
    counts = [
        received(sqs, queue_url, WaitTimeSeconds=0, AttributeNames=["All"])[0]["Attributes"]["ApproximateReceiveCount"]
        for _ in range(3)
    ]
    assert counts == ["1", "2", "3"]


def test_messages_expire_with_the_retention_period(new_service: Callable[..., Service]) -> None:
    """A message is gone when the queue's retention period has passed on the service's clock, held or not."""
    service = new_service(speed=60).start()
    sqs = service.client("sqs", "queue")
    short, long = (
        sqs.create_queue(QueueName=f"kept-{seconds}", Attributes={"MessageRetentionPeriod": seconds})["QueueUrl"]
        for seconds in ("60", "3600")
    )
    for url in (short, short, long):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    received(sqs, short, MaxNumberOfMessages=1)
    until(lambda: counted(sqs, short) == (0, 0))
    assert received(sqs, short, WaitTimeSeconds=0) == []
    assert len(received(sqs, long)) == 1


IN_FLIGHT = 120_000


def test_too_many_messages_in_flight(new_service: Callable[..., Service]) -> None:
    """With 120,000 in flight a short poll is refused and a long one finds nothing, until one is deleted or back."""
    service = new_service().start()
    sqs = service.client("sqs", "queue")
    url = sqs.create_queue(QueueName="full")["QueueUrl"]
    for body in ("held", "back", "waiting", "waiting"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    held, back = received(sqs, url, MaxNumberOfMessages=2, VisibilityTimeout=3_600)
    service.kill()
    hold_more(service, f"{account_of('queue')}/{REGION}/full", IN_FLIGHT - 2)
    service.start()
    sqs = service.client("sqs", "queue")
    url = sqs.get_queue_url(QueueName="full")["QueueUrl"]

    for _ in range(2):
        with pytest.raises(sqs.exceptions.OverLimit) as error:
            sqs.receive_message(QueueUrl=url)
    assert received(sqs, url, WaitTimeSeconds=1) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    [only] = received(sqs, url, WaitTimeSeconds=0)
    assert refusal_of(sqs.receive_message, QueueUrl=url) == code_of(error)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=back["ReceiptHandle"], VisibilityTimeout=1)
    [next_one] = received(sqs, url, WaitTimeSeconds=10)
    assert {only["Body"], next_one["Body"]} == {"waiting"}
    assert counted(sqs, url) == (1, IN_FLIGHT)


def hold_more(service: Service, queue: str, count: int) -> None:
    """Put messages into the queue of a service that is not running, as if they had been received, for an hour."""
    connection = sqlite3.connect(service.data_dir / "local-service.sqlite", isolation_level=None)
    now_ms = time.time_ns() // 1_000_000
    connection.execute(
        """
        WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
        INSERT INTO message (queue, message_id, body, sent_at_ms, visible_at_ms, receive_count, receipt)
        SELECT ?, n, 'x', ?, ?, 1, 'x' FROM number
        """,
        (count, queue, now_ms, now_ms + 3_600_000),
    )
    connection.close()


def test_topics_reach_the_queue_of_their_name(new_service: Callable[..., Service]) -> None:
    """A topic's notices come to the queue of its name in its account, with or without Rekognition's beginning."""
    service = new_service(**AT_ONCE).start()
    sqs, rekognition = service.client("sqs", "queue"), service.client("rekognition", "queue")
    account = account_of("queue")
    topics = {"done": "AmazonRekognition-done", "Ended": "AmazonRekognitionEnded", "plain": "plain"}
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in topics}
    key = archive_keys(service)[0]
    for name, topic in topics.items():
        channel = {
            "SNSTopicArn": f"arn:aws:sns:{REGION}:{account}:{topic}",
            "RoleArn": f"arn:aws:iam::{account}:role/publish",
        }
        job_id = start(rekognition, key, NotificationChannel=channel)
        [message] = received(sqs, urls[name])
        assert notice(message)["JobId"] == job_id


def test_another_account_is_refused(service: Service, queue_url: str) -> None:
    """A queue does not exist for the callers of another account."""
    other = service.client("sqs", "failures")
    name = queue_url.rpartition("/")[2]
    for call, request in (
        (other.receive_message, {"QueueUrl": queue_url}),
        (other.delete_queue, {"QueueUrl": queue_url}),
        (other.get_queue_url, {"QueueName": name, "QueueOwnerAWSAccountId": account_of("queue")}),
        (other.get_queue_url, {"QueueName": name}),
    ):
        with pytest.raises(other.exceptions.QueueDoesNotExist):
            call(**request)

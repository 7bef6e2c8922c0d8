"""Any course of sends, receives, deletions and changes of visibility, against what a standard queue promises."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.conftest import Service

HIDDEN_SECONDS = 600  # longer than any test
VISIBILITY = st.sampled_from([0, HIDDEN_SECONDS])
PLACES = st.integers(0, 10**6)
STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 10)),
    st.tuples(st.just("receive"), st.integers(1, 10), VISIBILITY),
    st.tuples(st.just("delete"), st.lists(PLACES, min_size=1, max_size=10)),
    st.tuples(st.just("hide"), st.lists(PLACES, min_size=1, max_size=10), VISIBILITY),
)


class Kept(msgspec.Struct):
    """A message that the queue must have."""

    body: str
    receives: int = 0
    handle: str = ""
    is_visible: bool = True


class Model:
    """What the queue holds, and every handle that it has given out."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.handles: list[tuple[str, str]] = []

    @property
    def visible(self) -> set[str]:
        return {message_id for message_id, message in self.kept.items() if message.is_visible}

    def chosen(self, places: list[int]) -> dict[str, tuple[str, str]]:
        """Handles by the ids of a batch's entries."""
        known = self.handles
        return {str(n): known[place % len(known)] for n, place in enumerate(places)} if known else {}

    def held(self, message_id: str, handle: str) -> Kept | None:
        """The message, if the handle is of its latest receive."""
        message = self.kept.get(message_id)
        return message if message is not None and message.handle == handle else None


class Course:
    """Takes the same steps with the queue and the model."""

    def __init__(self, sqs: Any, url: str) -> None:
        self.sqs, self.url, self.model = sqs, url, Model()

    def send(self, count: int) -> None:
        entries = [{"Id": str(n), "MessageBody": f"body {uuid.uuid4()}"} for n in range(count)]
        answer = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
        for entry, sent in zip(entries, answer["Successful"], strict=True):
            self.model.kept[sent["MessageId"]] = Kept(entry["MessageBody"])

    def receive(self, most: int, visibility_seconds: int) -> None:
        visible = self.model.visible
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = answer.get("Messages", [])
        ids = {message["MessageId"] for message in messages}
        assert len(ids) == len(messages) == min(most, len(visible))
        assert ids <= visible
        for message in messages:
            self.take(message, is_visible=visibility_seconds == 0)

    def take(self, message: dict[str, Any], *, is_visible: bool) -> None:
        kept = self.model.kept[message["MessageId"]]
        kept.receives += 1
        kept.handle, kept.is_visible = message["ReceiptHandle"], is_visible
        assert message["Body"] == kept.body
        assert message["Attributes"] == {"ApproximateReceiveCount": str(kept.receives)}
        self.model.handles.append((message["MessageId"], kept.handle))

    def delete(self, places: list[int]) -> None:
        if not (chosen := self.model.chosen(places)):
            return
        entries = [{"Id": entry_id, "ReceiptHandle": handle} for entry_id, (_, handle) in chosen.items()]
        answer = self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)
        assert [entry["Id"] for entry in answer["Successful"]] == list(chosen)
        for message_id, handle in chosen.values():
            if self.model.held(message_id, handle):
                del self.model.kept[message_id]

    def hide(self, places: list[int], visibility_seconds: int) -> None:
        for message_id, handle in self.model.chosen(places).values():
            held = self.model.held(message_id, handle)
            expected = "InvalidParameterValue" if held is None else "AWS.SimpleQueueService.MessageNotInflight"
            change = {"QueueUrl": self.url, "ReceiptHandle": handle, "VisibilityTimeout": visibility_seconds}
            if held is not None and not held.is_visible:
                self.sqs.change_message_visibility(**change)
                held.is_visible = visibility_seconds == 0
                continue
            with pytest.raises(ClientError) as error:
                self.sqs.change_message_visibility(**change)
            assert error.value.response["Error"]["Code"] == expected

    def compare(self) -> None:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        visible = len(self.model.visible)
        assert [int(counts[name]) for name in names] == [visible, len(self.model.kept) - visible]


@pytest.fixture(scope="module")
def sqs(service: Service) -> Any:
    return service.client("sqs", "queue")


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(STEPS, max_size=15))
def test_a_queue_keeps_its_promises(sqs: Any, steps: list[tuple[Any, ...]]) -> None:
    """After any steps the queue has handed out, hidden, kept and removed the messages that it should."""
    course = Course(sqs, sqs.create_queue(QueueName=f"model-{uuid.uuid4()}")["QueueUrl"])
    course.send(5)
    for name, *values in steps:
        getattr(course, name)(*values)
    course.compare()

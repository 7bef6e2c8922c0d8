"""Messages of a lane's queue, told apart: notices, other people's, and what nobody can read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.aws.notices import Foreign, Unreadable, read_message
from worker.model import Notice

JOB_ID = "a1b2" * 16


def message(body: Any, **changes: Any) -> dict[str, Any]:
    """A message as botocore gives it."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": text,
        "Attributes": {"ApproximateReceiveCount": "2"},
        **changes,
    }


def enveloped(body: Any, kind: str = "Notification") -> dict[str, Any]:
    """The body in an SNS envelope."""
    return {"Type": kind, "Message": json.dumps(body), "SubscribeURL": "http://127.0.0.1:1/"}


@pytest.mark.parametrize("body", [{"JobId": JOB_ID}, enveloped({"JobId": JOB_ID, "Status": "FAILED", "Other": [1]})])
def test_notice_is_read_raw_or_in_an_envelope(body: Any):
    """Whatever else it holds, its JobId is what counts."""
    assert read_message(message(body)) == Notice(JOB_ID, "r", 2)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"JobId": ""},
        enveloped({"JobId": JOB_ID}, "SubscriptionConfirmation"),
        enveloped({"JobId": JOB_ID}, "UnsubscribeConfirmation"),
        enveloped(enveloped({"JobId": JOB_ID})),
    ],
)
def test_other_messages_are_left(body: Any):
    """Subscriptions are not confirmed, and an envelope within an envelope is not opened."""
    assert read_message(message(body)) == Foreign("m")


@pytest.mark.parametrize("job_id", ["a\0b", "x" * 65, "a b", "é", "a\n", 7, ["a"]])
def test_impossible_job_id_is_unreadable(job_id: Any):
    """A JobId that Rekognition cannot have given never comes near the database."""
    for body in ({"JobId": job_id}, enveloped({"JobId": job_id})):
        read = read_message(message(body))
        assert isinstance(read, Unreadable)
        assert "JobId" in read.reason


@pytest.mark.parametrize("count", [None, "many", "", [], {}, "9" * 10_000])
def test_receives_that_are_no_number_count_as_one(count: Any):
    """SQS counts receives; what is no count is the first one."""
    assert read_message(message({"JobId": JOB_ID}, Attributes={"ApproximateReceiveCount": count})) == Notice(
        JOB_ID, "r", 1
    )


@pytest.mark.parametrize("member", ["MessageId", "ReceiptHandle", "Body", "Attributes"])
@pytest.mark.parametrize("value", [None, 7, [], {}])
def test_members_of_another_type_are_as_absent(member: str, value: Any):
    """Whatever a member holds, the message is read or put aside."""
    read = read_message(message({"JobId": JOB_ID}, **{member: value}))
    assert isinstance(read, Unreadable if member == "Body" else Notice)

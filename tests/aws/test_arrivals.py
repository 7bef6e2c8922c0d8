"""S3's event notifications, as they come straight, in an envelope of SNS, and from EventBridge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.aws.arrivals import Told, read_arrivals
from worker.model import Object


def record(key: str = "a.mp4", event: str = "ObjectCreated:Put", **of_object: Any) -> dict[str, Any]:
    """A record as the S3 User Guide shows it."""
    return {
        "eventVersion": "2.3",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-27T08:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AIDAEXAMPLE"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {"name": "archive", "ownerIdentity": {"principalId": "A3"}, "arn": "arn:aws:s3:::archive"},
            "object": {"key": key, "sequencer": "0A1B2C3D4E5F678901", **of_object},
        },
    }


def event(key: str = "a b.mp4", **changes: Any) -> dict[str, Any]:
    """An event as EventBridge sends it to a queue."""
    detail = {
        "version": "0",
        "bucket": {"name": "archive"},
        "object": {"key": key, "size": 5, "etag": "e", "version-id": "v", "sequencer": "0A"},
        "request-id": "R",
        "reason": "PutObject",
    }
    return {"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail, **changes}


def told(body: Any) -> Told:
    return read_arrivals(json.dumps(body))


def enveloped(body: Any, kind: str = "Notification") -> dict[str, Any]:
    """The body in an SNS envelope."""
    return {"Type": kind, "Message": json.dumps(body), "TopicArn": "t"}


def test_object_is_named_with_its_version():
    """S3 writes spaces as plus signs and other characters in percent; sizes and ETags come as they are."""
    named = record("2026/a+b%2Bc%C3%A9.mp4", size=1024, eTag="d41d8cd9", versionId="096fKK")
    expected = [Object("archive", "2026/a b+cé.mp4", "096fKK", "d41d8cd9", 1024)]
    assert told({"Records": [named]}) == Told(expected)
    assert told(enveloped({"Records": [named]})) == Told(expected)


def test_eventbridge_writes_keys_as_they_are():
    """A plus sign is one."""
    assert told(event("a+b%20.mp4")) == Told([Object("archive", "a+b%20.mp4", "v", "e", 5)])


def test_object_of_a_bucket_without_versions_is_named_by_its_key():
    """So is one with the version that S3 calls null."""
    for version in ({}, {"versionId": "null"}, {"versionId": ""}):
        assert told({"Records": [record(**version)]}) == Told([Object("archive", "a.mp4")])


@pytest.mark.parametrize("way", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_whatever_way_it_was_created_counts(way: str):
    assert told({"Records": [record(event=f"ObjectCreated:{way}")]}).objects == [Object("archive", "a.mp4")]


@pytest.mark.parametrize(
    "body",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "archive"},
        {"Records": [record(event="ObjectRemoved:Delete")]},
        {"Records": [record("folder/")]},
        event("folder/"),
        event(**{"detail-type": "Object Deleted"}),
    ],
)
def test_what_tells_of_nothing_new_names_no_object(body: Any):
    """Test events, deletions, markers of folders."""
    assert told(body) == Told([])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Records": []},
        {"Records": [{"eventSource": "aws:ses", "eventName": "x", "ses": {}}]},
        event(source="another"),
        {"JobId": "a1"},
        enveloped(enveloped({"Records": [record()]})),
        enveloped({"Records": [record()]}, "SubscriptionConfirmation"),
    ],
)
def test_what_is_not_of_s3_is_somebody_elses(body: Any):
    """Other services' messages, notices of jobs, and confirmations, to which nobody answers."""
    assert told(body) == Told([], is_foreign=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"Records": 3}',
        json.dumps({"Records": [record() | {"s3": {"bucket": {}}}]}),
        json.dumps({"Records": [record(size=-1)]}),
        json.dumps({"Records": [record(size=1.5)]}),
        json.dumps({"Records": [record("%FF.mp4")]}),
        json.dumps({"Records": [record("a%00.mp4")]}),
        json.dumps({"Records": [record("k" * 1025)]}),
        json.dumps(event(detail={"bucket": {"name": "No Bucket"}, "object": {"key": "k"}})),
        json.dumps(event(detail=None)),
        "[" * 100_000,
        '{"Records": ' * 5_000,
    ],
)
def test_what_cannot_be_read_has_a_reason(text: str):
    """Whoever can send to the queue can end nothing by it."""
    found = read_arrivals(text)
    assert not found.objects
    assert found.fault


def test_neighbours_of_what_cannot_be_go_on():
    """A message with one impossible object names the others, and is told."""
    found = told({"Records": [record(), record("a%00.mp4"), record("b.mp4")]})
    assert found.objects == [Object("archive", "a.mp4"), Object("archive", "b.mp4")]
    assert found.fault == "it holds a NUL character"

"""What all protocols share: identity, unknown operations, unreadable bodies, and the ledger."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.local.conftest import AT_ONCE, Service, archive_keys, start, until
from worker.local.accounts import account_of

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAX/20260101/us-east-1/any/aws4_request, Signature=x"}


def post(service: Service, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(service.url + "/", data=body, headers=named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_keys_name_accounts(service: Service) -> None:
    """A local access key names its own account, every other key the common one."""
    identity = service.client("sts", "ledger").get_caller_identity()
    assert identity["Account"] == account_of("ledger")
    assert identity["Arn"] == f"arn:aws:iam::{account_of('ledger')}:user/modworker"
    status, _, body = post(service, b"Action=GetCallerIdentity&Version=2011-06-15", **SIGNED)
    assert status == 200
    assert b"<Account>123456789012</Account>" in body


def test_unsigned_calls_are_refused(service: Service) -> None:
    """A call without a signature's credential scope is refused before anything is done."""
    for headers in ({}, {"Authorization": "Bearer x"}):
        status, found, body = post(service, b"{}", X_Amz_Target="RekognitionService.StartContentModeration", **headers)
        assert status == 403
        assert "__type" in json.loads(body)
        assert found["x-amzn-RequestId"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"Video": 1}', b'{"Video": {"S3Object": []}}'])
def test_unreadable_bodies_are_refused(service: Service, body: bytes) -> None:
    """A body that is not JSON, or has members of other types, is a SerializationException."""
    status, headers, answer = post(service, body, X_Amz_Target="RekognitionService.StartContentModeration", **SIGNED)
    while b"ProvisionedThroughput" in answer:
        status, headers, answer = post(
            service, body, X_Amz_Target="RekognitionService.StartContentModeration", **SIGNED
        )
    assert status == 400
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert json.loads(answer)["__type"] == "SerializationException"


def test_unknown_operations_are_refused(service: Service) -> None:
    """An operation that is not served is UnknownOperationException, in whatever service."""
    for target in ("RekognitionService.DetectFaces", "AmazonSQS.TagQueue", "x"):
        status, _, body = post(service, b"{}", X_Amz_Target=target, **SIGNED)
        assert (status, json.loads(body)["__type"]) == (400, "UnknownOperationException")
    status, _, body = post(service, b"Action=AssumeRole", **SIGNED)
    assert status == 400
    assert b"<Code>InvalidAction</Code>" in body


def test_the_ledger_keeps_the_books(new_service: Any) -> None:
    """Every paid job stands in the ledger once with its settings, and its sums are those of its entries."""
    service = new_service(**AT_ONCE, videos=1_200).start()
    rekognition = service.client("rekognition", "ledger")
    keys = archive_keys(service)
    job_ids = [
        start(rekognition, key, MinConfidence=62.5, JobTag=f"tag-{place}", ClientRequestToken=f"token-{place}")
        for place, key in enumerate(keys[:520])
    ]
    until(lambda: service.get_json("/_ledger?summary=1")["running"] == 0)
    with pytest.raises(rekognition.exceptions.InvalidS3ObjectException):
        start(rekognition, "nothing")
    ledger = service.get_json("/_ledger")
    summary = service.get_json("/_ledger?summary=1")
    entry = ledger["paid"][7]

    assert [paid["job_id"] for paid in ledger["paid"]] == job_ids
    assert {name: entry[name] for name in entry if name not in ("job_id", "minutes", "status")} == {
        "account": account_of("ledger"),
        "region": "us-east-1",
        "bucket": "synthetic-archive",
        "key": keys[7],
        "version_id": None,
        "min_confidence": 62.5,
        "token": "token-7",
        "tag": "tag-7",
    }
    assert ledger["paid_jobs"] == summary["paid_jobs"] == 520
    assert ledger["minutes"] == pytest.approx(sum(paid["minutes"] for paid in ledger["paid"]))
    assert {paid["status"] for paid in ledger["paid"]} == {"SUCCEEDED", "FAILED"}
    assert all((paid["minutes"] > 0) == (paid["status"] == "SUCCEEDED") for paid in ledger["paid"])
    assert summary["calls"]["StartContentModeration"] == {"ok": 520, "InvalidS3ObjectException": 1}
    assert summary["calls"]["ListObjectsV2"] == {"ok": 2}
    assert summary["running"] == 0
    assert 1 <= summary["most_running"] <= 520
    assert "paid" not in summary

"""Faults on demand: what a plan says goes wrong, as often as it says, and the books stay true."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ResponseStreamingError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.conftest import AT_ONCE, Service, archive_keys, finished, notice, pages, received, start, until
from worker.errors import UsageError
from worker.local.accounts import account_of
from worker.local.faults.plan import plan_of_file
from worker.local.front.sts import Sts
from worker.local.protocol.documented_errors import SERVICES
from worker.local.protocol.shapes import service_model
from worker.local.s3 import addressing

LOST = (ConnectionClosedError, EndpointConnectionError, HTTPClientError, KeyError)  # of the answer, or its JobId
Put = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, lanes: dict[str, Any]) -> Iterator[Service]:
    local = {"videos": 400, "quota_burst": 1000, **AT_ONCE}
    running = Service(tmp_path_factory.mktemp("faulty"), lanes=lanes, local=local).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def keys(faulty: Service) -> list[str]:
    return archive_keys(faulty)


@pytest.fixture
def put(faulty: Service) -> Iterator[Put]:
    """Puts a plan in force for the test."""
    yield lambda **plan: put_plan(faulty, plan)
    put_plan(faulty, {})


def put_plan(service: Service, plan: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(service.url + "/_faults", data=json.dumps(plan).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def summary(service: Service) -> dict[str, Any]:
    return service.get_json("/_ledger?summary=1")


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except LOST as error:
        return type(error).__name__
    return "ok"


def heard(service: Service, lane: str, *, seconds: int = 1) -> list[dict[str, Any]]:
    """All messages that wait in the lane's queue, for a while out of others' sight."""
    sqs, queue_url = service.client("sqs", lane), service.lane(lane).queue_url
    found: list[dict[str, Any]] = []
    while messages := received(sqs, queue_url, WaitTimeSeconds=seconds, VisibilityTimeout=600):
        found += messages
        seconds = 0
    return found


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("ThrottlingException", 400, "Slow down; sudden increase in rate of requests."),
        ("ProvisionedThroughputExceededException", 400, "Provisioned Rate exceeded."),
        ("InternalServerError", 500, "Internal server error"),
        ("ServiceUnavailable", 503, "Service Unavailable"),
        ("ExpiredTokenException", 400, "The security token included in the request is expired"),
    ],
)
def test_an_error_comes_as_documented(
    faulty: Service, keys: list[str], put: Put, code: str, status: int, message: str
) -> None:
    """A call that is struck by an error is answered with its documented status and message, and does nothing."""
    put(calls=[{"fault": "error", "code": code, "operations": ["StartContentModeration"]}])
    before = summary(faulty)["paid_jobs"]
    with pytest.raises(ClientError) as error:
        start(faulty.client("rekognition"), keys[0])
    told = error.value.response
    assert (told["Error"]["Code"], told["Error"]["Message"]) == (code, message)
    assert told["ResponseMetadata"]["HTTPStatusCode"] == status
    assert summary(faulty)["paid_jobs"] == before


S3_ERRORS = [
    ("AccessDenied", 403, "403"),
    ("NoSuchKey", 404, "404"),
    ("InvalidObjectState", 403, "403"),
    ("RequestTimeTooSkewed", 403, "403"),
    ("ExpiredToken", 400, "400"),
    ("SlowDown", 503, "503"),
    ("InternalError", 500, "500"),
]


@pytest.mark.parametrize(("code", "status", "of_head"), S3_ERRORS)
def test_an_error_of_s3_comes_as_documented(
    faulty: Service, keys: list[str], put: Put, code: str, status: int, of_head: str
) -> None:
    """S3's errors have their own status and message; of HeadObject, which has no body, boto3 tells the status."""
    put(calls=[{"fault": "error", "code": code, "operations": ["HeadObject", "GetObject"]}])
    s3 = faulty.client("s3")
    for call, told in ((s3.get_object, code), (s3.head_object, of_head)):
        with pytest.raises(ClientError) as error:
            call(Bucket="synthetic-archive", Key=keys[0])
        answer = error.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (told, status)
        assert answer["Error"]["Message"]


def test_an_error_of_sqs_comes_as_documented(faulty: Service, put: Put) -> None:
    """SQS's errors have their own status, and the older code that clients go by."""
    sqs, queue_url = faulty.client("sqs"), faulty.lane().queue_url

    def struck(code: str) -> ClientError:
        put(calls=[{"fault": "error", "code": code, "operations": ["ReceiveMessage"]}])
        with pytest.raises(ClientError) as error:
            sqs.receive_message(QueueUrl=queue_url)
        return error.value

    full = struck("OverLimit")
    assert isinstance(full, sqs.exceptions.OverLimit)
    assert full.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    gone = struck("QueueDoesNotExist")
    assert isinstance(gone, sqs.exceptions.QueueDoesNotExist)
    assert gone.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert gone.response["Error"]["Message"] == "The specified queue does not exist or you do not have access to it."


@pytest.mark.parametrize(
    ("service_name", "code", "action"),
    [
        ("rekognition", "AccessDeniedException", "rekognition:GetContentModeration"),
        ("sqs", "AccessDeniedException", "sqs:ListQueues"),
        ("s3", "AccessDenied", "s3:ListBuckets"),
        ("sts", "AccessDenied", "sts:GetCallerIdentity"),
    ],
)
def test_a_denial_names_the_action(faulty: Service, put: Put, service_name: str, code: str, action: str) -> None:
    """A denied caller hears who may not do what, by the name that the action has in policies."""
    put(calls=[{"fault": "error", "code": code}])
    client = faulty.client(service_name)
    with pytest.raises(ClientError) as error:
        getattr(client, xform_name(action.partition(":")[2]))(
            **({"JobId": "x"} if service_name == "rekognition" else {})
        )
    user = f"arn:aws:iam::{account_of('main')}:user/modworker"
    assert error.value.response["Error"]["Message"] == f"User: {user} is not authorized to perform: {action}"


@pytest.mark.parametrize(("service_name", "status"), [("s3", 400), ("sts", 403)])
def test_a_code_of_two_services_is_answered_as_each_documents_it(
    faulty: Service, put: Put, service_name: str, status: int
) -> None:
    """The service that is called tells the status of a code that another one has as well."""
    put(calls=[{"fault": "error", "code": "ExpiredToken"}])
    client = faulty.client(service_name)
    with pytest.raises(ClientError, match="ExpiredToken") as error:
        client.list_buckets() if service_name == "s3" else client.get_caller_identity()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_mismatch_names_the_token(faulty: Service, keys: list[str], put: Put) -> None:
    """The message of an injected mismatch names the request's token, where it has one."""
    put(calls=[{"fault": "error", "code": "IdempotentParameterMismatchException"}])
    rekognition = faulty.client("rekognition")
    for more, named in (({"ClientRequestToken": "mine"}, ": mine"), ({}, "")):
        with pytest.raises(rekognition.exceptions.IdempotentParameterMismatchException) as error:
            start(rekognition, keys[0], **more)
        message = error.value.response["Error"]["Message"]
        assert message == f"The ClientRequestToken{named} you have supplied is already in use."


def test_the_throttle_of_status_500_has_its_own_message(faulty: Service, put: Put) -> None:
    """ThrottlingException with status 500 says Service Unavailable."""
    put(calls=[{"fault": "error", "code": "ThrottlingException", "status": 500}])
    with pytest.raises(ClientError) as error:
        faulty.client("rekognition").get_content_moderation(JobId="x")
    assert error.value.response["Error"]["Message"] == "Service Unavailable"


def test_a_plan_may_strike_every_operation_there_is(faulty: Service) -> None:
    """The operations that a plan may name are those that the service serves."""

    def is_served(target: str) -> bool:
        headers = {"X-Amz-Target": target}
        request = urllib.request.Request(faulty.url, data=b"{}", method="POST", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=10)
        return json.load(error.value)["Code"] != "UnknownOperationException"

    targets = {"rekognition": "RekognitionService", "sqs": "AmazonSQS"}
    served = {
        name: {each for each in service_model(name).operation_names if is_served(f"{target}.{each}")}
        for name, target in targets.items()
    }
    served |= {"s3": set(addressing._OPERATIONS.values()), "sts": {Sts().operation_of(None)}}
    assert {service.prefix: set(service.operations) for service in SERVICES} == served


def test_a_code_of_ones_own_is_answered_as_it_is(faulty: Service, put: Put) -> None:
    """A code that is documented nowhere is answered with the plan's status."""
    put(calls=[{"fault": "error", "code": "Whatever", "status": 418, "operations": ["GetCallerIdentity"]}])
    with pytest.raises(ClientError, match="Whatever") as error:
        faulty.client("sts").get_caller_identity()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 418


def test_a_body_that_is_too_large_is_refused_in_the_protocol(faulty: Service) -> None:
    """More than 4 MiB is RequestEntityTooLargeException with status 413."""
    with pytest.raises(ClientError) as error:
        faulty.client("sqs").send_message(QueueUrl=faulty.lane().queue_url, MessageBody="x" * (4 * 2**20 + 1))
    assert error.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_an_error_may_be_given_in_full(faulty: Service, put: Put) -> None:
    """Status and message of the plan are used as they are; other operations and accounts are let be."""
    throttled = {"fault": "error", "code": "ThrottlingException", "status": 500, "message": "Service Unavailable"}
    put(calls=[throttled | {"operations": ["GetContentModeration"], "accounts": [account_of("main")]}])
    with pytest.raises(ClientError) as error:
        faulty.client("rekognition").get_content_moderation(JobId="x")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert error.value.response["Error"]["Message"] == "Service Unavailable"
    assert outcome(lambda: faulty.client("rekognition", "tokens").get_content_moderation(JobId="x")) == (
        "ResourceNotFoundException"
    )
    assert outcome(lambda: faulty.client("sts").get_caller_identity()) == "ok"


@pytest.mark.parametrize("service_name", ["sqs", "s3", "sts"])
def test_every_service_is_struck_in_its_own_protocol(faulty: Service, put: Put, service_name: str) -> None:
    """An error reaches the clients of the other services as theirs."""
    put(calls=[{"fault": "error", "code": "AccessDenied", "status": 403, "message": "not now"}])
    calls: dict[str, Callable[[Any], Any]] = {
        "sqs": lambda client: client.receive_message(QueueUrl=faulty.lane().queue_url),
        "s3": lambda client: client.list_objects_v2(Bucket="synthetic-archive"),
        "sts": lambda client: client.get_caller_identity(),
    }
    with pytest.raises(ClientError, match=r"AccessDenied.*not now"):
        calls[service_name](faulty.client(service_name))


@pytest.mark.parametrize("is_executed", [False, True])
def test_a_reset_loses_the_answer(faulty: Service, keys: list[str], put: Put, *, is_executed: bool) -> None:
    """The connection is reset before or after the work; after it the job is there and paid, and its token finds it."""
    token = f"reset-{is_executed}"
    reset = {"fault": "reset", "operations": ["StartContentModeration"], "executed": is_executed, "times": 1}
    before = summary(faulty)["paid_jobs"]
    put(calls=[reset])
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        start(faulty.client("rekognition"), keys[1], ClientRequestToken=token)
    assert summary(faulty)["paid_jobs"] == before + is_executed
    start(faulty.client("rekognition"), keys[1], ClientRequestToken=token)
    assert summary(faulty)["paid_jobs"] == before + 1


@pytest.mark.parametrize(
    ("fault", "raised"),
    [("truncated", (ResponseStreamingError, ConnectionClosedError)), ("malformed", KeyError)],
)
def test_an_answer_arrives_spoiled(
    faulty: Service, keys: list[str], put: Put, fault: str, raised: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """Half an answer is an error of boto3's, one that is no JSON has no JobId for it; the work was done."""
    before = summary(faulty)
    put(calls=[{"fault": fault, "operations": ["StartContentModeration"], "times": 1}])
    with pytest.raises(raised):
        start(faulty.client("rekognition"), keys[2])
    after = summary(faulty)
    assert after["paid_jobs"] == before["paid_jobs"] + 1
    assert after["calls"]["StartContentModeration"][fault] >= 1
    assert start(faulty.client("rekognition"), keys[2])


def test_an_answer_comes_late(faulty: Service, put: Put) -> None:
    """A slow answer is the right one; the delays of several faults add up."""
    slow = {"fault": "slow", "seconds": 0.2, "operations": ["GetCallerIdentity"]}
    put(calls=[slow, slow])
    began = time.monotonic()
    assert faulty.client("sts").get_caller_identity()["Account"] == account_of("main")
    assert time.monotonic() - began >= 0.4


def test_a_plan_strikes_by_count_share_and_seed(faulty: Service, put: Put) -> None:
    """`skip`, `times` and `share` count candidates; the same seed strikes the same calls, another one others."""

    def struck(seed: int, **selection: Any) -> list[bool]:
        put(seed=seed, calls=[{"fault": "error", "code": "InternalServerError", **selection}])
        rekognition = faulty.client("rekognition")
        return [
            outcome(lambda: rekognition.get_content_moderation(JobId="x")) == "InternalServerError" for _ in range(60)
        ]

    assert struck(1, skip=5, times=3) == [False] * 5 + [True] * 3 + [False] * 52
    half = struck(1, share=0.5)
    assert 15 <= sum(half) <= 45
    assert struck(1, share=0.5) == half
    assert struck(2, share=0.5) != half


def test_a_fault_has_its_time(new_service: Callable[..., Service]) -> None:
    """Seconds are those of the service's clock since the plan was put in force."""
    service = new_service(speed=10).start()
    sts = service.client("sts")
    window = {"fault": "error", "code": "ExpiredTokenException", "from_seconds": 20, "until_seconds": 60}
    put_plan(service, {"calls": [window | {"operations": ["GetCallerIdentity"]}]})
    assert outcome(sts.get_caller_identity) == "ok"
    until(lambda: outcome(sts.get_caller_identity) == "ExpiredTokenException")
    until(lambda: outcome(sts.get_caller_identity) == "ok")


def test_credentials_are_denied_for_a_while(faulty: Service, put: Put) -> None:
    """A refusal of an account's calls names who may not do what, and ends with the plan."""
    put(calls=[{"fault": "error", "code": "AccessDeniedException", "accounts": [account_of("main")]}])
    with pytest.raises(ClientError) as error:
        faulty.client("rekognition").get_content_moderation(JobId="x")
    user = f"arn:aws:iam::{account_of('main')}:user/modworker"
    assert error.value.response["Error"]["Message"] == (
        f"User: {user} is not authorized to perform: rekognition:GetContentModeration"
    )
    put()
    assert outcome(lambda: faulty.client("rekognition").get_content_moderation(JobId="x")) == (
        "ResourceNotFoundException"
    )


def bodies_of(faulty: Service, key: str, **start_with: Any) -> tuple[str, list[str]]:
    """Start a job, wait for its end, and give its JobId and the bodies that its queue holds."""
    rekognition = faulty.client("rekognition", "failures")
    job_id = start(rekognition, key, NotificationChannel=faulty.channel("failures"), **start_with)
    finished(rekognition, job_id)
    return job_id, [message["Body"] for message in heard(faulty, "failures")]


def test_notices_are_lost_doubled_and_foreign(faulty: Service, keys: list[str], put: Put) -> None:
    """A lost notice is never sent, a doubled one comes so many times, a foreign one is about no job of the service."""
    put(notices=[{"fault": "lost"}])
    assert bodies_of(faulty, keys[3])[1] == []
    put(notices=[{"fault": "doubled", "copies": 3}])
    job_id, bodies = bodies_of(faulty, keys[3])
    assert [json.loads(json.loads(body)["Message"])["JobId"] for body in bodies] == [job_id] * 3
    put(notices=[{"fault": "foreign"}])
    job_id, bodies = bodies_of(faulty, keys[3])
    told = {payload["JobId"]: payload for payload in (json.loads(json.loads(body)["Message"]) for body in bodies)}
    (foreign,) = told.keys() - {job_id}
    assert len(bodies) == 2
    assert told[foreign]["API"] != "StartContentModeration"
    assert outcome(lambda: faulty.client("rekognition").get_content_moderation(JobId=foreign)) == (
        "ResourceNotFoundException"
    )


def test_faults_of_one_kind_add_up(faulty: Service, keys: list[str], put: Put) -> None:
    """Copies of several faults add up, each foreign notice is one more, and all that strikes is counted."""
    put(notices=[{"fault": "doubled"}, {"fault": "doubled", "copies": 3}, {"fault": "foreign"}, {"fault": "foreign"}])
    job_id, bodies = bodies_of(faulty, keys[3])
    told = [json.loads(json.loads(body)["Message"])["JobId"] for body in bodies]
    assert (told.count(job_id), len(told)) == (5, 7)
    assert faulty.get_json("/_faults")["strikes"] == {f"notices[{place}]": 1 for place in range(4)}


def test_a_lost_notice_meets_no_other_fault(faulty: Service, keys: list[str], put: Put) -> None:
    """What is lost is neither doubled nor late, and not counted as either; a foreign notice comes all the same."""
    put(notices=[{"fault": "doubled"}, {"fault": "late", "seconds": 60}, {"fault": "lost"}, {"fault": "foreign"}])
    job_id, [body] = bodies_of(faulty, keys[3])
    assert json.loads(json.loads(body)["Message"])["JobId"] != job_id
    strikes = faulty.get_json("/_faults")["strikes"]
    assert {name: times for name, times in strikes.items() if times} == {"notices[2]": 1, "notices[3]": 1}


def test_a_notice_is_in_an_envelope_of_sns(faulty: Service, keys: list[str]) -> None:
    """The envelope has all members that clients parse; its signature is plainly none."""
    _, [body] = bodies_of(faulty, keys[3])
    envelope = json.loads(body)
    assert envelope.keys() == {
        *("Type", "MessageId", "TopicArn", "Message", "Timestamp"),
        *("SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"),
    }
    assert envelope["SignatureVersion"] == "1"
    assert base64.b64decode(envelope["Signature"]) == b"not signed"
    assert ".invalid/" in envelope["SigningCertURL"]


def test_notices_are_unreadable(faulty: Service, keys: list[str], put: Put) -> None:
    """An unreadable notice arrives in its envelope, cut in the middle."""
    put(notices=[{"fault": "unreadable"}])
    _, [body] = bodies_of(faulty, keys[4])
    with pytest.raises(json.JSONDecodeError):
        json.loads(json.loads(body)["Message"])


def test_notices_are_late(faulty: Service, keys: list[str], put: Put) -> None:
    """A late notice is in no queue before its time, and is sent then; the delays of several faults add up."""
    put(notices=[{"fault": "late", "seconds": 2}, {"fault": "late", "seconds": 2}])
    sqs, queue_url = faulty.client("sqs", "failures"), faulty.lane("failures").queue_url
    rekognition = faulty.client("rekognition", "failures")
    began_ms = time.time() * 1000
    finished(rekognition, start(rekognition, keys[5], NotificationChannel=faulty.channel("failures")))
    waiting = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    assert waiting["ApproximateNumberOfMessagesDelayed"] == waiting["ApproximateNumberOfMessages"] == "0"
    [message] = until(lambda: received(sqs, queue_url, AttributeNames=["SentTimestamp"]))
    assert int(message["Attributes"]["SentTimestamp"]) - began_ms > 3950
    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])


def test_late_notices_outlive_a_purge_and_the_process(new_service: Callable[..., Service]) -> None:
    """A late notice is not in the queue that is purged, and comes though the service is killed meanwhile."""
    service = new_service(**AT_ONCE).start()
    put_plan(service, {"notices": [{"fault": "late", "seconds": 8}]})
    [key, *_] = archive_keys(service)
    rekognition = service.client("rekognition", "failures")
    finished(rekognition, job_id := start(rekognition, key, NotificationChannel=service.channel("failures")))
    service.client("sqs", "failures").purge_queue(QueueUrl=service.lane("failures").queue_url)
    service.kill()
    service.start()
    sqs = service.client("sqs", "failures")
    [message] = until(lambda: received(sqs, service.lane("failures").queue_url))
    assert notice(message)["JobId"] == job_id


def test_a_truncated_object_is_half_of_it(faulty: Service, keys: list[str], put: Put) -> None:
    """Of an object's bytes, too, half arrive."""
    put(calls=[{"fault": "truncated", "operations": ["GetObject"]}])
    answer = faulty.client("s3").get_object(Bucket="synthetic-archive", Key=keys[0], Range="bytes=0-3999999")
    arrived: list[bytes] = []
    with pytest.raises(ResponseStreamingError):
        arrived.extend(answer["Body"].iter_chunks(1000))
    assert sum(map(len, arrived)) == 2_000_000


def test_an_injected_limit_is_the_accounts(faulty: Service, keys: list[str], put: Put) -> None:
    """LimitExceededException names the quota of the account that calls."""
    put(calls=[{"fault": "error", "code": "LimitExceededException", "operations": ["StartContentModeration"]}])
    rekognition = faulty.client("rekognition", "small")
    user = f"arn:aws:iam::{account_of('small')}:user/modworker"
    with pytest.raises(rekognition.exceptions.LimitExceededException) as error:
        start(rekognition, keys[0])
    assert error.value.response["Error"]["Message"] == f"3 open Jobs for User {user} Maximum limit: 3"


def test_notices_overtake_the_answer_to_their_start(faulty: Service, keys: list[str], put: Put) -> None:
    """An early notice is in the queue before Start has answered."""
    put(notices=[{"fault": "early", "seconds": 0}])
    rekognition = faulty.client("rekognition", "failures")
    job_id = start(rekognition, keys[6], NotificationChannel=faulty.channel("failures"))
    [message] = received(faulty.client("sqs", "failures"), faulty.lane("failures").queue_url, WaitTimeSeconds=0)
    assert notice(message)["JobId"] == job_id


def test_an_early_notice_is_not_late(faulty: Service, keys: list[str], put: Put) -> None:
    """`late` is not tried on a job that is struck by `early`; a job without a channel is no candidate of `early`."""
    put(notices=[{"fault": "early", "seconds": 0}, {"fault": "late", "seconds": 3600}])
    rekognition = faulty.client("rekognition", "failures")
    finished(rekognition, start(rekognition, keys[7]))
    assert not any(faulty.get_json("/_faults")["strikes"].values())
    start(rekognition, keys[7], NotificationChannel=faulty.channel("failures"))
    assert len(heard(faulty, "failures", seconds=0)) == 1
    assert faulty.get_json("/_faults")["strikes"] == {"notices[0]": 1}


@pytest.mark.parametrize("status", ["FAILED", "ERROR"])
def test_jobs_end_in_failure(faulty: Service, keys: list[str], put: Put, status: str) -> None:
    """A job that is struck is FAILED with the plan's message and costs nothing; its notice says FAILED or ERROR."""
    put(jobs=[{"status": status, "message": "out of order", "keys": ["2024/*"]}])
    minutes = summary(faulty)["minutes"]
    job_id, [body] = bodies_of(faulty, keys[8])
    page = faulty.client("rekognition", "failures").get_content_moderation(JobId=job_id)
    assert json.loads(json.loads(body)["Message"])["Status"] == status
    assert (page["JobStatus"], page["StatusMessage"], page["ModerationLabels"]) == ("FAILED", "out of order", [])
    assert summary(faulty)["minutes"] == minutes


def test_the_same_jobs_are_struck_in_any_order(faulty: Service, keys: list[str], put: Put) -> None:
    """What befalls a job follows from the seed and its video, not from the order of events."""
    rekognition = faulty.client("rekognition", "failures")

    def failing(order: list[str]) -> set[str]:
        put(seed=5, jobs=[{"share": 0.5}])
        jobs = {key: start(rekognition, key) for key in order}
        return {key for key, job_id in jobs.items() if finished(rekognition, job_id)["JobStatus"] == "FAILED"}

    some = keys[20:50]
    found = failing(some)
    assert 5 <= len(found) <= 25
    assert failing(list(reversed(some))) == found


def test_a_token_expires_at_its_page(faulty: Service, put: Put) -> None:
    """The token to the page named is refused once for each job; the reading may begin again and come to its end."""
    put(tokens=[{"page": 3}])
    rekognition = faulty.client("rekognition")
    video = {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": "two-and-a-half-pages.mp4"}}
    job_id = rekognition.start_content_moderation(Video=video)["JobId"]
    with pytest.raises(rekognition.exceptions.InvalidPaginationTokenException, match="might have expired"):
        pages(rekognition, job_id)
    assert len(pages(rekognition, job_id)) == 3


def test_another_tenant_uses_a_share_of_the_quotas(new_service: Callable[..., Service]) -> None:
    """From its time on a tenant halves what is left of the calls and of the running jobs."""
    quotas = {"start_per_second": 5000, "get_per_second": 10, "concurrent_jobs": 20}
    service = new_service(job_seconds=3600, quotas=quotas, quota_burst=1).start()
    rekognition = service.client("rekognition")
    [key, *_] = archive_keys(service)
    put_plan(service, {"tenants": [{"share": 0.5, "regions": ["us-east-1"]}]})
    answers = [outcome(lambda: start(rekognition, key)) for _ in range(12)]
    assert answers == ["ok"] * 10 + ["LimitExceededException"] * 2
    with pytest.raises(rekognition.exceptions.LimitExceededException, match=r"20 open Jobs for User .* limit: 20"):
        start(rekognition, key)
    put_plan(service, {"tenants": [{"share": 0.5, "from_seconds": 3600}]})
    assert [outcome(lambda: start(rekognition, key)) for _ in range(10)] == ["ok"] * 10
    put_plan(service, {"tenants": [{"share": 1.0}]})
    outcome(lambda: rekognition.get_content_moderation(JobId="x"))  # what the bucket still held
    assert outcome(lambda: rekognition.get_content_moderation(JobId="x")) == "ProvisionedThroughputExceededException"


def test_a_plan_is_read_from_a_file(tmp_path: Path, lanes: dict[str, Any]) -> None:
    """A service that is given a plan's file begins with it, and tells how often each fault has struck."""
    plan = tmp_path / "faults.toml"
    plan.write_text('seed = 3\n[[calls]]\nfault = "error"\ncode = "SlowDown"\noperations = ["ListObjectsV2"]\n')
    service = Service(tmp_path / "service", lanes=lanes, local={"faults": str(plan)}).start()
    try:
        with pytest.raises(ClientError, match="SlowDown"):
            archive_keys(service)
        shown = service.get_json("/_faults")
    finally:
        service.kill()
    assert shown["plan"]["seed"] == 3
    assert shown["strikes"] == {"calls[0]": 1}


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ({"call": []}, "call"),
        ({"calls": [{"fault": "explode"}]}, "explode"),
        ({"calls": [{"fault": "error"}]}, "code"),
        ({"calls": [{"fault": "slow", "seconds": -1}]}, "seconds"),
        ({"calls": [{"fault": "reset", "share": 1.5}]}, "share"),
        ({"notices": [{"fault": "lost", "copies": 2}]}, "copies"),
        ({"jobs": [{"status": "SUCCEEDED"}]}, "SUCCEEDED"),
        ({"tokens": [{"page": 1}]}, "page"),
        ({"calls": [{"fault": "reset", "operations": ["StartContentModeraton"]}]}, "StartContentModeraton"),
        ({"calls": [{"fault": "error", "code": "ThrotlingException"}]}, "ThrotlingException"),
        ({"jobs": [{"from_seconds": 5, "until_seconds": 5}]}, "until_seconds is 5"),
        ({"tenants": [{"share": 0.5, "skip": 1}]}, "skip"),
        ({"tenants": [{"share": 0.5, "times": 1}]}, "times"),
        ([], "object"),
    ],
)
def test_a_faulty_plan_is_refused(faulty: Service, put: Put, plan: Any, named: str) -> None:
    """What a plan cannot say is refused with one sentence that names it; the plan in force stays."""
    put(seed=9)
    with pytest.raises(urllib.error.HTTPError) as error:
        put_plan(faulty, plan)
    assert error.value.code == 400
    assert named in json.load(error.value)["Message"]
    assert faulty.get_json("/_faults")["plan"]["seed"] == 9


def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path) -> None:
    """A mistake in a plan's file is told with the file, the place and the value."""
    path = tmp_path / "faults.toml"
    path.write_text('[[calls]]\nfault = "reset"\n[[calls]]\nfault = "slow"\nseconds = 1\noperations = ["GetObjekt"]\n')
    with pytest.raises(UsageError, match=r"faults\.toml: operations has 'GetObjekt'; .* at `\$\.calls\[1\]`"):
        plan_of_file(path)


def _selections() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"share": st.sampled_from([0.2, 0.5, 1.0])},
        optional={"skip": st.integers(0, 3), "times": st.integers(0, 5)},
    )


def _call_faults() -> st.SearchStrategy[dict[str, Any]]:
    operations = st.lists(st.sampled_from(["StartContentModeration", "GetContentModeration"]), max_size=2)
    kinds = st.one_of(
        st.fixed_dictionaries(
            {
                "fault": st.just("error"),
                "code": st.sampled_from(["ThrottlingException", "InternalServerError", "LimitExceededException"]),
                "executed": st.booleans(),
            }
        ),
        st.fixed_dictionaries({"fault": st.just("reset"), "executed": st.booleans()}),
        st.fixed_dictionaries({"fault": st.sampled_from(["truncated", "malformed"])}),
    )
    return st.builds(
        lambda kind, operations, selection: {**kind, "operations": operations, **selection},
        kinds,
        operations,
        _selections(),
    )


def _plans() -> st.SearchStrategy[dict[str, Any]]:
    notices = st.sampled_from(["lost", "doubled", "foreign", "unreadable"])
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 1000),
            "calls": st.lists(_call_faults(), max_size=3),
            "notices": st.lists(
                st.builds(lambda fault, selection: {"fault": fault, **selection}, notices, _selections()), max_size=2
            ),
            "jobs": st.lists(_selections(), max_size=1),
        }
    )


@given(plan=_plans(), tokens=st.lists(st.integers(0, 5), min_size=1, max_size=12))
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_ledger_adds_up_under_every_plan(
    faulty: Service, keys: list[str], put: Put, plan: dict[str, Any], tokens: list[int]
) -> None:
    """Executed Starts are the paid ones and the repeated ones; every call has one outcome; minutes are the jobs'."""
    before = summary(faulty)
    run = str(time.time_ns())
    put(**plan)
    rekognition = faulty.client("rekognition", "ledger")
    answered = Counter(
        outcome(lambda token=token: start(rekognition, keys[token], ClientRequestToken=f"{run}-{token}"))
        for token in tokens
    )
    put()
    until(lambda: summary(faulty)["running"] == 0)
    after, paid = summary(faulty), faulty.get_json("/_ledger")["paid"]
    of_run = [entry for entry in paid if str(entry["token"]).startswith(run)]

    def grown(*path: str) -> int:
        values = []
        for document in (before, after):
            value: Any = document
            for name in path:
                value = value.get(name, {}) if name != path[-1] else value.get(name, 0)
            values.append(value)
        return values[1] - values[0]

    outcomes = after["calls"]["StartContentModeration"].keys()
    assert grown("executed", "StartContentModeration") == grown("paid_jobs") + grown("replays")
    assert sum(grown("calls", "StartContentModeration", name) for name in outcomes) == len(tokens)
    assert grown("calls", "StartContentModeration", "ok") == answered["ok"]
    assert len(of_run) == grown("paid_jobs") == len({entry["token"] for entry in of_run})
    assert grown("minutes") == pytest.approx(sum(entry["minutes"] for entry in of_run))
    assert after["minutes"] == pytest.approx(sum(entry["minutes"] for entry in paid))

"""Every error that Rekognition's model declares for the two operations, provoked and caught as its own class."""

from __future__ import annotations

import json
import re
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from botocore.model import Shape, StructureShape

from tests.local.conftest import AT_ONCE, REGION, Service, finished, pages
from worker.local.accounts import account_of
from worker.local.protocol.shapes import service_model

START, GET = "StartContentModeration", "GetContentModeration"
MODEL = service_model("rekognition")
EDGE_CASES, LONG_KEY, SHORT_KEY = "synthetic-edge-cases", "two-and-a-half-pages.mp4", "one-label.mp4"
HOUR_MS = 3_600_000
HAMMER_CALLS = 40

WIDE = {
    "region": REGION,
    "endpoint_url": "local",
    "concurrent_jobs": 1000,
    "start_per_second": 10_000,
    "get_per_second": 10_000,
}
LANES = {
    "main": WIDE,
    "other": WIDE,
    "full": WIDE | {"concurrent_jobs": 1},
    **{f"slow-{n}": WIDE | {"start_per_second": 0.25, "get_per_second": 0.25} for n in range(4)},
}
SHORT_JOBS = {"job_seconds": 0, "job_seconds_per_video_second": 5e-4}  # of six hours: 11 s


class Call(msgspec.Struct, frozen=True):
    """A call that must be refused, and the client that makes it: exception classes belong to a client."""

    client: Any
    make: Callable[[], Any]


Prepare = Callable[["Site"], Call]


class Case(msgspec.Struct, frozen=True):
    """`prepare` does what must be done before the call that is refused."""

    name: str
    operation: str
    error: str
    message: str
    prepare: Prepare
    status: int = 400


class Site:
    """The service, a client of the account under test, and a job of it that has ended."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rekognition = service.client("rekognition")
        self.job_id = self.started(LONG_KEY)
        finished(self.rekognition, self.job_id)

    def started(self, key: str, **more: Any) -> str:
        return str(self.rekognition.start_content_moderation(Video=video(key), **more)["JobId"])

    def token(self, **reading: Any) -> str:
        """The NextToken after the first entries of the job."""
        return str(self.rekognition.get_content_moderation(JobId=self.job_id, MaxResults=7, **reading)["NextToken"])

    def put_plan(self, *calls: dict[str, Any]) -> None:
        body = json.dumps({"calls": calls}).encode()
        request = urllib.request.Request(self.service.url + "/_faults", data=body, method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def books(self) -> tuple[int, int]:
        """How many jobs were paid, and how many Starts were carried out."""
        summary = self.service.get_json("/_ledger?summary=1")
        return summary["paid_jobs"], summary["executed"][START]

    def be_away(self, hours: float) -> None:
        """Let so many hours pass between the death of the service and its next start."""
        self.service.kill()
        with closing(sqlite3.connect(self.service.data_dir / "local-service.sqlite")) as database, database:
            database.execute("UPDATE clock SET true_ms = true_ms - ?", (hours * HOUR_MS,))
        self.service.start()
        self.rekognition = self.service.client("rekognition")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    local = {"videos": 20, "quota_burst": 2, **SHORT_JOBS}
    running = Service(tmp_path_factory.mktemp("errors"), lanes=LANES, local=local).start()
    yield Site(running)
    running.stop()


@pytest.fixture
def own_site(new_service: Callable[..., Service]) -> Site:
    """A site whose service may be stopped."""
    return Site(new_service(**AT_ONCE).start())


def video(name: str, bucket: str = EDGE_CASES, **version: str) -> dict[str, Any]:
    return {"S3Object": {"Bucket": bucket, "Name": name, **version}}


def starting(**changes: Any) -> Prepare:
    """A Start of a good video with these members changed."""
    request = {"Video": video(SHORT_KEY)} | changes
    return lambda site: Call(site.rekognition, lambda: site.rekognition.start_content_moderation(**request))


def getting(**changes: Any) -> Prepare:
    """A Get of the ended job with these members changed."""

    def prepare(site: Site) -> Call:
        request = {"JobId": site.job_id} | changes
        return Call(site.rekognition, lambda: site.rekognition.get_content_moderation(**request))

    return prepare


def with_token(make: Callable[[Site], str], **reading: Any) -> Prepare:
    return lambda site: getting(NextToken=make(site), **reading)(site)


def struck(operation: str, **fault: Any) -> Prepare:
    """A good call of the operation under a fault plan."""

    def prepare(site: Site) -> Call:
        site.put_plan({"fault": "error", "operations": [operation], **fault})
        return (starting() if operation == START else getting())(site)

    return prepare


def hammered(operation: str, error: str, lane: str) -> Prepare:
    """Calls without a pause, until one is refused in that way."""

    def prepare(site: Site) -> Call:
        client = site.service.client("rekognition", lane)
        call = (  # both are refused as soon as they are admitted, so that none of them is paid
            (lambda: client.start_content_moderation(Video=video("missing")))
            if operation == START
            else (lambda: client.get_content_moderation(JobId="unknown"))
        )

        def hammer() -> None:
            for _ in range(HAMMER_CALLS):
                try:
                    call()
                except ClientError as refusal:
                    if refusal.response["Error"]["Code"] == error:
                        raise

        return Call(client, hammer)

    return prepare


def beyond_the_slots(site: Site) -> Call:
    """A second job in an account that may run one."""
    client = site.service.client("rekognition", "full")
    client.start_content_moderation(Video=video("six-hours.mp4"))
    return Call(client, lambda: client.start_content_moderation(Video=video(SHORT_KEY)))


def of_another_job(site: Site) -> str:
    """A token that is good for another job of the same video."""
    another = site.started(LONG_KEY)
    finished(site.rekognition, another)
    return str(site.rekognition.get_content_moderation(JobId=another, MaxResults=7)["NextToken"])


def elsewhere(lane: str, region: str) -> Prepare:
    def prepare(site: Site) -> Call:
        client = site.service.client("rekognition", lane, region)
        return Call(client, lambda: client.get_content_moderation(JobId=site.job_id))

    return prepare


def re_used(name: str, **change: Any) -> Case:
    """A token that was used with every parameter set, and comes again with one of them changed."""

    def prepare(site: Site) -> Call:
        token = f"token-{name}"
        version = site.service.client("s3").head_object(Bucket=EDGE_CASES, Key=SHORT_KEY)["VersionId"]
        request = {
            "Video": video(SHORT_KEY, Version=version),
            "MinConfidence": 60.0,
            "JobTag": "tag",
            "NotificationChannel": site.service.channel(),
        }
        job_id = site.rekognition.start_content_moderation(ClientRequestToken=token, **request)["JobId"]
        assert site.rekognition.start_content_moderation(ClientRequestToken=token, **request)["JobId"] == job_id
        changed = {member: value for member, value in merged(request, change).items() if value is not None}
        return Call(
            site.rekognition,
            lambda: site.rekognition.start_content_moderation(ClientRequestToken=token, **changed),
        )

    message = rf"The ClientRequestToken: token-{name} you have supplied is already in use\."
    return Case(name, START, "IdempotentParameterMismatchException", message, prepare)


def merged(request: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The request with members replaced at whatever level they stand."""
    return request | {
        name: merged(request[name], value) if isinstance(value, dict) else value for name, value in change.items()
    }


def account_arn(lane: str) -> str:
    return f"arn:aws:iam::{account_of(lane)}:user/modworker"


S3_SENTENCE = r"Unable to get object metadata from S3\. Check object key, region and/or access permissions\."

MISMATCHES = {
    "Video.S3Object.Bucket": re_used("bucket", Video={"S3Object": {"Bucket": "synthetic-archive"}}),
    "Video.S3Object.Name": re_used("name", Video={"S3Object": {"Name": LONG_KEY}}),
    "Video.S3Object.Version": re_used("version", Video={"S3Object": {"Version": "0" * 32}}),
    "MinConfidence": re_used("confidence", MinConfidence=60.5),
    "JobTag": re_used("tag", JobTag="another"),
    "NotificationChannel.SNSTopicArn": re_used(
        "topic", NotificationChannel={"SNSTopicArn": f"arn:aws:sns:{REGION}:123456789012:AmazonRekognition-x"}
    ),
    "NotificationChannel.RoleArn": re_used(
        "role", NotificationChannel={"RoleArn": "arn:aws:iam::123456789012:role/another"}
    ),
}
"""By the parameter that differs."""

LEFT_OUT = [
    re_used("no-confidence", MinConfidence=None),
    re_used("no-tag", JobTag=None),
    re_used("no-channel", NotificationChannel=None),
]

CASES = [
    *MISMATCHES.values(),
    *LEFT_OUT,
    *(
        Case("denied", operation, "AccessDeniedException", message, struck(operation, code="AccessDeniedException"))
        for operation in (START, GET)
        for message in [f"User: {account_arn('main')} is not authorized to perform: rekognition:{operation}"]
    ),
    *(
        Case(
            "internal",
            operation,
            "InternalServerError",
            "Internal server error",
            struck(operation, code="InternalServerError"),
            500,
        )
        for operation in (START, GET)
    ),
    *(
        Case(
            "unavailable",
            operation,
            "ThrottlingException",
            "Service Unavailable",
            struck(operation, code="ThrottlingException", status=500, message="Service Unavailable"),
            500,
        )
        for operation in (START, GET)
    ),
    *(
        Case("hammered", operation, error, message, hammered(operation, error, f"slow-{number}"))
        for number, (operation, error, message) in enumerate(
            (operation, error, message)
            for operation in (START, GET)
            for error, message in (
                ("ProvisionedThroughputExceededException", r"Provisioned Rate exceeded\."),
                ("ThrottlingException", r"Slow down; sudden increase in rate of requests\."),
            )
        )
    ),
    Case(
        "slots",
        START,
        "LimitExceededException",
        f"1 open Jobs for User {account_arn('full')} Maximum limit: 1",
        beyond_the_slots,
    ),
    Case(
        "10-gb",
        START,
        "VideoTooLargeException",
        r"Video size in bytes: 10737418241 is more than the maximum limit of: 10737418240 bytes\.",
        starting(Video=video("over-10-gb.mp4")),
    ),
    Case(
        "6-hours",
        START,
        "VideoTooLargeException",
        r"Video duration in milliseconds: 21601000 is more than the maximum limit of: 21600000 milliseconds\.",
        starting(Video=video("over-6-hours.mp4")),
    ),
    *(
        Case(name, START, "InvalidS3ObjectException", S3_SENTENCE, starting(Video=where))
        for name, where in {
            "no-key": video("missing.mp4"),
            "no-version": video(SHORT_KEY, Version="0" * 32),
            "no-bucket": video(SHORT_KEY, "no-such-bucket"),
            "other-region": video(SHORT_KEY, "synthetic-archive-eu-west-1"),
            "archived": video("archived.mp4"),
        }.items()
    ),
    Case(
        "start",
        START,
        "InvalidParameterException",
        r"Request has invalid parameters\. MinConfidence must be at most 100\.",
        starting(MinConfidence=101),
    ),
    Case(
        "get",
        GET,
        "InvalidParameterException",
        r"Request has invalid parameters\. JobId must match .+",
        getting(JobId="has space"),
    ),
    *(
        Case(name, GET, "InvalidPaginationTokenException", "Invalid Pagination Token", prepare)
        for name, prepare in {
            "forged": getting(NextToken="A" * 38),
            "no-base64": getting(NextToken="ü"),
            "altered": with_token(lambda site: site.token()[:-1] + "!"),
            "of-another-job": with_token(of_another_job),
            "of-another-sort": with_token(lambda site: site.token(), SortBy="NAME"),
            "of-another-aggregate": with_token(lambda site: site.token(), AggregateBy="SEGMENTS"),
            "of-segments": with_token(lambda site: site.token(AggregateBy="SEGMENTS")),
        }.items()
    ),
    *(
        Case(name, GET, "ResourceNotFoundException", "Could not find JobId", prepare)
        for name, prepare in {
            "unknown": getting(JobId="0" * 64),
            "of-another-account": elsewhere("other", REGION),
            "of-another-region": elsewhere("main", "eu-west-1"),
        }.items()
    ),
]


def refused(call: Call, error: str) -> dict[str, Any]:
    """What the refusal holds; it is caught as the exception class of its own name."""
    with pytest.raises(getattr(call.client.exceptions, error)) as caught:
        call.make()
    assert type(caught.value).__name__ == error
    answer = caught.value.response
    assert answer["Error"]["Code"] == error
    assert re.fullmatch(r"[0-9a-f-]{36}", answer["ResponseMetadata"]["RequestId"])
    return answer


@pytest.mark.parametrize("operation", [START, GET])
def test_no_error_of_the_model_is_left_out(operation: str) -> None:
    """Each error that the model declares for the operation is provoked below, and no other."""
    declared = {error.name for error in MODEL.operation_model(operation).error_shapes}
    assert {case.error for case in CASES if case.operation == operation} == declared


def test_no_parameter_of_a_start_is_left_out() -> None:
    """Each member that a token's second request may differ in is tried."""

    def leaves(shape: Shape, path: str) -> Iterator[str]:
        if not isinstance(shape, StructureShape):
            yield path
            return
        for name, member in shape.members.items():
            yield from leaves(member, f"{path}.{name}".lstrip("."))

    every = set(leaves(MODEL.operation_model(START).input_shape, ""))
    assert set(MISMATCHES) == every - {"ClientRequestToken"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation[:3]}-{case.error}-{case.name}")
def test_errors_are_caught_as_their_own_class(site: Site, case: Case) -> None:
    """Class, code, HTTP status, message and RequestId are the documented ones, and a refused Start costs nothing."""
    call = case.prepare(site)
    books = site.books()
    answer = refused(call, case.error)
    site.put_plan()
    assert re.fullmatch(case.message, answer["Error"]["Message"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == case.status
    assert site.books() == books


def test_a_token_expires_after_a_day(own_site: Site) -> None:
    """A NextToken is good for 24 hours; then the job can be read from its first page on."""
    read_on = getting(NextToken=own_site.token())
    own_site.be_away(hours=23.9)
    assert read_on(own_site).make()["ModerationLabels"]
    own_site.be_away(hours=0.2)
    answer = refused(read_on(own_site), "InvalidPaginationTokenException")
    assert answer["Error"]["Message"] == "The token might have expired."
    assert sum(len(page["ModerationLabels"]) for page in pages(own_site.rekognition, own_site.job_id)) == 2500


def test_a_job_expires_after_a_week(own_site: Site) -> None:
    """Results are kept for seven days; then the job is as unknown as one that never was."""
    own_site.be_away(hours=24 * 7 - 0.1)
    assert getting()(own_site).make()["JobStatus"] == "SUCCEEDED"
    own_site.be_away(hours=0.2)
    answer = refused(getting()(own_site), "ResourceNotFoundException")
    assert answer["Error"]["Message"] == "Could not find JobId"


@pytest.mark.parametrize(
    ("error", "operation", "request_", "status"),
    [
        ("NoSuchBucket", "list_objects_v2", {"Bucket": "no-such-bucket"}, 404),
        ("NoSuchKey", "get_object", {"Bucket": EDGE_CASES, "Key": "missing.mp4"}, 404),
        ("InvalidObjectState", "get_object", {"Bucket": EDGE_CASES, "Key": "archived.mp4"}, 403),
    ],
)
def test_storage_errors_are_caught_as_their_own_class(
    site: Site, error: str, operation: str, request_: dict[str, Any], status: int
) -> None:
    """What S3's model declares is caught by the names that it declares."""
    s3 = site.service.client("s3")
    answer = refused(Call(s3, lambda: getattr(s3, operation)(**request_)), error)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_replay_is_no_second_start(site: Site) -> None:
    """The same token with the same parameters gives the same job, and it is paid once."""
    paid, executed = site.books()
    job_ids = {site.started(SHORT_KEY, ClientRequestToken="again") for _ in range(3)}
    assert len(job_ids) == 1
    assert site.books() == (paid + 1, executed + 3)

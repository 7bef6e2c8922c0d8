"""`aws rekognition` and `aws sqs`: from the start of a job over its notice to its last page."""

from __future__ import annotations

import json
import secrets
from typing import Any

import msgspec
import pytest

from tests.aws_cli.conftest import LANE
from tests.aws_cli.program import Aws, Refusal
from tests.local.conftest import Service, archive_keys, notice
from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst

MIN_CONFIDENCE = 60.0
PAGE_SIZE = 1000
ANALYST = SyntheticAnalyst(1)


class Job(msgspec.Struct, frozen=True):
    """A started job: the options that started it, and the entries that it has to find."""

    options: dict[str, str]
    job_id: str
    key: str
    labels: list[dict[str, Any]]


def as_arguments(options: dict[str, str]) -> list[str]:
    return [argument for option in options.items() for argument in option]


def labels_of(key: str) -> list[dict[str, Any]]:
    analysis = ANALYST.analyse(StoredVideo("synthetic-archive", key, None, 0, None), MIN_CONFIDENCE)
    return msgspec.json.decode(msgspec.json.encode(analysis.labels))


@pytest.fixture(scope="module")
def job(aws: Aws, service: Service) -> Job:
    """A job of three pages, started by a command that uses every option."""
    key, labels = next((key, labels) for key in archive_keys(service) if len(labels := labels_of(key)) > 2 * PAGE_SIZE)
    channel = service.channel(LANE)
    options = {
        "--video": json.dumps({"S3Object": {"Bucket": "synthetic-archive", "Name": key}}),
        "--notification-channel": f"SNSTopicArn={channel['SNSTopicArn']},RoleArn={channel['RoleArn']}",
        "--min-confidence": str(MIN_CONFIDENCE),
        "--client-request-token": secrets.token_hex(32),
        "--job-tag": "shell:a=b/c.1",
    }
    answer = aws.json("rekognition", "start-content-moderation", *as_arguments(options))
    return Job(options, answer["JobId"], key, labels)


@pytest.fixture(scope="module")
def queue_url(service: Service) -> str:
    return service.lane(LANE).queue_url


@pytest.fixture(scope="module")
def message(aws: Aws, job: Job, queue_url: str) -> dict[str, Any]:
    """The message that tells the end of the job."""
    options = {"--queue-url": queue_url, "--wait-time-seconds": "20", "--message-system-attribute-names": "All"}
    [received] = aws.json("sqs", "receive-message", *as_arguments(options))["Messages"]
    return received


@pytest.fixture(scope="module")
def ended(job: Job, message: dict[str, Any]) -> Job:
    """The job, whose end was told."""
    assert notice(message)["JobId"] == job.job_id
    return job


def read(aws: Aws, job_id: str, **options: str) -> Any:
    arguments = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    return aws.json("rekognition", "get-content-moderation", "--job-id", job_id, *as_arguments(arguments))


def test_the_notice_is_received_and_deleted(aws: Aws, job: Job, message: dict[str, Any], queue_url: str) -> None:
    """A long poll brings the notice of the job; when it is deleted, the queue is empty."""
    told = notice(message)
    assert told["JobId"] == job.job_id
    assert told["Status"] == "SUCCEEDED"
    assert told["JobTag"] == job.options["--job-tag"]
    assert told["Video"] == {"S3ObjectName": job.key, "S3Bucket": "synthetic-archive"}
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert message["Attributes"]["SentTimestamp"].isdigit()

    aws.text("sqs", "delete-message", "--queue-url", queue_url, "--receipt-handle", message["ReceiptHandle"])
    left = aws.json("sqs", "get-queue-attributes", "--queue-url", queue_url, "--attribute-names", "All")["Attributes"]
    assert left["ApproximateNumberOfMessages"] == left["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_the_same_command_gives_the_same_job(aws: Aws, ended: Job) -> None:
    """A start that is repeated under its token prints the JobId of the first."""
    answer = aws.json("rekognition", "start-content-moderation", *as_arguments(ended.options))
    assert answer == {"JobId": ended.job_id}


def test_another_request_under_the_token_is_refused(aws: Aws, ended: Job) -> None:
    """The program ends with 255 and prints the error and the message that Rekognition documents."""
    changed = as_arguments(ended.options | {"--job-tag": "another"})
    token = ended.options["--client-request-token"]
    assert aws.refused("rekognition", "start-content-moderation", *changed) == Refusal(
        255,
        "An error occurred (IdempotentParameterMismatchException) when calling the StartContentModeration operation: "
        f"The ClientRequestToken: {token} you have supplied is already in use.",
    )


def test_pages_are_read_to_the_last(aws: Aws, ended: Job) -> None:
    """Each NextToken leads to the next page, and together the pages hold every entry in its order."""
    pages = [read(aws, ended.job_id, max_results=str(PAGE_SIZE))]
    for _ in range(2):
        pages.append(read(aws, ended.job_id, max_results=str(PAGE_SIZE), next_token=pages[-1]["NextToken"]))

    assert "NextToken" not in pages[-1]
    assert [len(page["ModerationLabels"]) for page in pages] == [1000, 1000, len(ended.labels) - 2000]
    assert [label for page in pages for label in page["ModerationLabels"]] == ended.labels
    for page in pages:
        assert page["JobStatus"] == "SUCCEEDED"
        assert page["JobId"] == ended.job_id
        assert page["JobTag"] == ended.options["--job-tag"]
        assert page["Video"]["S3Object"]["Name"] == ended.key
        assert page["VideoMetadata"]["DurationMillis"] > 0
        assert page["ModerationModelVersion"] == "7.0"


def test_entries_are_sorted_by_name(aws: Aws, ended: Job) -> None:
    """`--sort-by NAME` begins with the first label in the order of names, the most certain entry first."""
    page = read(aws, ended.job_id, sort_by="NAME")
    printed = [
        (entry["ModerationLabel"]["Name"], -entry["ModerationLabel"]["Confidence"])
        for entry in page["ModerationLabels"]
    ]
    found = [(entry["ModerationLabel"]["Name"], -entry["ModerationLabel"]["Confidence"]) for entry in ended.labels]
    assert page["GetRequestMetadata"] == {"SortBy": "NAME", "AggregateBy": "TIMESTAMPS"}
    assert printed == sorted(found)[:PAGE_SIZE]


def test_entries_are_joined_to_segments(aws: Aws, ended: Job) -> None:
    """`--aggregate-by SEGMENTS` prints spans of time, fewer than there are entries."""
    page = read(aws, ended.job_id, aggregate_by="SEGMENTS")
    assert page["GetRequestMetadata"] == {"SortBy": "TIMESTAMP", "AggregateBy": "SEGMENTS"}
    assert 0 < len(page["ModerationLabels"]) < PAGE_SIZE
    assert "NextToken" not in page
    for segment in page["ModerationLabels"]:
        assert segment["DurationMillis"] == segment["EndTimestampMillis"] - segment["StartTimestampMillis"]


def test_an_unknown_job_is_refused(aws: Aws) -> None:
    """A JobId that was never given out is ResourceNotFoundException."""
    refusal = aws.refused("rekognition", "get-content-moderation", "--job-id", "0" * 64)
    assert refusal.exit_code == 255
    assert "(ResourceNotFoundException) when calling the GetContentModeration operation:" in refusal.message

"""StartContentModeration and GetContentModeration, from the first call to the last page."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import Service, archive_keys, finished, notice, pages, received, start, until
from worker.local.accounts import account_of
from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst

ANALYST = SyntheticAnalyst(1)
COUNTS = [0, 1, 999, 1000, 1001, 2503]


def video(key: str) -> StoredVideo:
    return StoredVideo("synthetic-archive", key, None, 0, None)


def labels_of(key: str) -> list[dict[str, Any]]:
    """All that is seen in the video, as pages have it."""
    return msgspec.json.decode(msgspec.json.encode(ANALYST.analyse(video(key), 50.0).labels))


@pytest.fixture(scope="module")
def keys(service: Service) -> list[str]:
    return archive_keys(service)


@pytest.fixture(scope="module")
def key_of_count(keys: list[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for key in keys[:100]:
        found.setdefault(len(ANALYST.analyse(video(key), 50.0).labels), key)
    return found


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


@pytest.mark.parametrize("count", COUNTS)
def test_a_video_goes_from_start_over_its_notice_to_its_last_page(
    service: Service, key_of_count: dict[int, str], count: int
) -> None:
    """A started job sends one notice, and its pages hold exactly the entries that the analyst saw."""
    rekognition, sqs, lane = service.client("rekognition"), service.client("sqs"), service.lane()
    tag = f"test:{secrets.token_hex(8)}"
    job_id = start(rekognition, key_of_count[count], JobTag=tag, NotificationChannel=service.channel())
    heard: list[dict[str, Any]] = []

    def mine() -> dict[str, Any] | None:
        heard.extend(received(sqs, lane.queue_url, WaitTimeSeconds=1, VisibilityTimeout=600))
        return next((notice(message) for message in heard if notice(message)["JobId"] == job_id), None)

    told = until(mine)
    read = pages(rekognition, job_id)

    assert len(job_id) == 64
    assert told["Status"] == "SUCCEEDED"
    assert told["API"] == "StartContentModeration"
    assert told["JobTag"] == tag
    assert told["Video"] == {"S3ObjectName": key_of_count[count], "S3Bucket": "synthetic-archive"}
    assert [len(page["ModerationLabels"]) for page in read] == [
        min(1000, count - first) for first in range(0, max(count, 1), 1000)
    ]
    assert [label for page in read for label in page["ModerationLabels"]] == labels_of(key_of_count[count])
    for page in read:
        assert page["VideoMetadata"]["DurationMillis"] == ANALYST.duration_ms(video(key_of_count[count]))
        assert page["JobTag"] == tag
        assert page["JobId"] == job_id
        assert page["ModerationModelVersion"] == "7.0"
        assert page["GetRequestMetadata"] == {"SortBy": "TIMESTAMP", "AggregateBy": "TIMESTAMPS"}
        assert page["Video"]["S3Object"]["Name"] == key_of_count[count]


def test_a_failed_video_says_why(service: Service, keys: list[str]) -> None:
    """A video of an unsupported codec ends FAILED with AWS's words, and its notice says FAILED."""
    rekognition = service.client("rekognition", "failures")
    failing = next(key for key in keys if ANALYST.failure(video(key)))
    job_id = start(rekognition, failing, NotificationChannel=service.channel("failures"))
    page = finished(rekognition, job_id)
    [message] = received(service.client("sqs", "failures"), service.lane("failures").queue_url)

    assert (page["JobStatus"], page["StatusMessage"]) == ("FAILED", "Unsupported codec/format.")
    assert page["ModerationLabels"] == []
    assert notice(message)["Status"] == "FAILED"


def test_a_running_job_says_so(new_service: Any) -> None:
    """A job is IN_PROGRESS for 5 s and a tenth of its duration."""
    service = new_service(speed=1).start()
    rekognition = service.client("rekognition")
    page = rekognition.get_content_moderation(JobId=start(rekognition, archive_keys(service)[0]))
    assert page["JobStatus"] == "IN_PROGRESS"
    assert page["ModerationLabels"] == []


def test_min_confidence_leaves_labels_out(service: Service, key_of_count: dict[int, str]) -> None:
    """A job with a MinConfidence has exactly the labels that reach it, each with its parents."""
    rekognition = service.client("rekognition")
    labels = pages(rekognition, start(rekognition, key_of_count[2503], MinConfidence=80))
    entries = [label for page in labels for label in page["ModerationLabels"]]
    all_entries = labels_of(key_of_count[2503])
    seen = {(entry["Timestamp"], entry["ModerationLabel"]["Name"]) for entry in entries}

    assert entries == [entry for entry in all_entries if entry["ModerationLabel"]["Confidence"] >= 80]
    assert 0 < len(entries) < 2503
    assert all(
        (entry["Timestamp"], entry["ModerationLabel"]["ParentName"]) in seen
        for entry in entries
        if entry["ModerationLabel"]["ParentName"]
    )


def test_name_order_groups_labels_by_confidence(service: Service, key_of_count: dict[int, str]) -> None:
    """SortBy NAME groups the same entries by label, the most certain first."""
    rekognition = service.client("rekognition")
    job_id = start(rekognition, key_of_count[1001])
    by_time = [label for page in pages(rekognition, job_id) for label in page["ModerationLabels"]]
    by_name = [label for page in pages(rekognition, job_id, SortBy="NAME") for label in page["ModerationLabels"]]

    def name_then_confidence(entry: dict[str, Any]) -> tuple[str, float]:
        return entry["ModerationLabel"]["Name"], -entry["ModerationLabel"]["Confidence"]

    assert by_name == sorted(by_name, key=name_then_confidence)
    assert sorted(map(repr, by_name)) == sorted(map(repr, by_time))


def test_segments_join_consecutive_samples(service: Service, key_of_count: dict[int, str]) -> None:
    """AggregateBy SEGMENTS covers each sample of each label by exactly one segment."""
    rekognition = service.client("rekognition")
    job_id = start(rekognition, key_of_count[2503])
    samples = {
        (label["ModerationLabel"]["Name"], label["Timestamp"])
        for page in pages(rekognition, job_id)
        for label in page["ModerationLabels"]
    }
    segments = [
        label
        for page in pages(rekognition, job_id, AggregateBy="SEGMENTS", MaxResults=100)
        for label in page["ModerationLabels"]
    ]
    covered = [
        (segment["ModerationLabel"]["Name"], at_ms)
        for segment in segments
        for at_ms in range(segment["StartTimestampMillis"], segment["EndTimestampMillis"], 500)
    ]

    assert len(segments) < len(samples)
    assert sorted(covered) == sorted(samples)
    assert all(
        segment["Timestamp"] == segment["StartTimestampMillis"]
        and segment["DurationMillis"] == segment["EndTimestampMillis"] - segment["StartTimestampMillis"]
        for segment in segments
    )


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (37, 37), (1000, 1000), (5000, 1000)])
def test_pages_are_as_large_as_asked_but_for_1000(
    service: Service, key_of_count: dict[int, str], asked: int, given: int
) -> None:
    """MaxResults above 1000 means 1000."""
    rekognition = service.client("rekognition")
    page = finished(rekognition, start(rekognition, key_of_count[1001]), MaxResults=asked)
    assert len(page["ModerationLabels"]) == given
    assert len(page["NextToken"]) <= 255


def test_page_tokens_belong_to_their_job_and_reading(service: Service, key_of_count: dict[int, str]) -> None:
    """A NextToken of another job, order or aggregation, or a made-up one, is InvalidPaginationTokenException."""
    rekognition = service.client("rekognition")
    job_id, other_id = (start(rekognition, key_of_count[1001]) for _ in range(2))
    token = finished(rekognition, job_id)["NextToken"]
    finished(rekognition, other_id)
    wrong: list[dict[str, Any]] = [
        {"JobId": other_id, "NextToken": token},
        {"JobId": job_id, "NextToken": token, "SortBy": "NAME"},
        {"JobId": job_id, "NextToken": token, "AggregateBy": "SEGMENTS"},
        {"JobId": job_id, "NextToken": token[:-2] + ("AA" if token[-2:] != "AA" else "BB")},
        {"JobId": job_id, "NextToken": "ünreadable"},
        {"JobId": job_id, "NextToken": "x"},
    ]
    for request in wrong:
        with pytest.raises(ClientError) as error:
            rekognition.get_content_moderation(**request)
        assert code_of(error) == "InvalidPaginationTokenException"
    assert len(rekognition.get_content_moderation(JobId=job_id, NextToken=token)["ModerationLabels"]) == 1


def test_confidences_are_float32_like_those_of_aws(service: Service, key_of_count: dict[int, str]) -> None:
    """Every confidence is between 50 and 100 and exactly a float32."""
    rekognition = service.client("rekognition")
    for entry in finished(rekognition, start(rekognition, key_of_count[1000]))["ModerationLabels"]:
        confidence = entry["ModerationLabel"]["Confidence"]
        assert 50 <= confidence <= 100
        assert struct.unpack("f", struct.pack("f", confidence))[0] == confidence


def test_unknown_jobs_are_not_found(service: Service, keys: list[str]) -> None:
    """A JobId that was never given out, or in another account or region, is ResourceNotFoundException."""
    job_id = start(service.client("rekognition"), keys[0])
    finished(service.client("rekognition"), job_id)
    for client, asked in [
        (service.client("rekognition"), "0" * 64),
        (service.client("rekognition", "tokens"), job_id),
        (service.client("rekognition", region="eu-west-1"), job_id),
    ]:
        with pytest.raises(ClientError) as error:
            client.get_content_moderation(JobId=asked)
        assert code_of(error) == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "wrong",
    [
        {"MinConfidence": 101},
        {"ClientRequestToken": "a b"},
        {"ClientRequestToken": "x" * 65},
        {"JobTag": "sp ace"},
        {"NotificationChannel": {"SNSTopicArn": "arn:aws:sns:us-east-1:12:x", "RoleArn": "arn:aws:iam::1:role/x"}},
        {
            "NotificationChannel": {
                "SNSTopicArn": "arn:aws:sns:eu-west-1:123456789012:AmazonRekognition",
                "RoleArn": "arn:aws:iam::123456789012:role/x",
            }
        },
        {"Video": {}},
        {"Video": {"S3Object": {"Bucket": "has space", "Name": "x"}}},
    ],
)
def test_requests_outside_the_model_are_refused(service: Service, keys: list[str], wrong: dict[str, Any]) -> None:
    """Bounds and patterns that clients do not check are checked here, and nothing is paid."""
    video_of_archive = {"S3Object": {"Bucket": "synthetic-archive", "Name": keys[0]}}
    paid = service.get_json("/_ledger?summary=1")["paid_jobs"]
    with pytest.raises(ClientError) as error:
        service.client("rekognition").start_content_moderation(**({"Video": video_of_archive} | wrong))
    assert code_of(error) == "InvalidParameterException"
    assert service.get_json("/_ledger?summary=1")["paid_jobs"] == paid


@pytest.mark.parametrize(
    "where",
    [
        {"Bucket": "synthetic-archive", "Name": "nothing/here.mp4"},
        {"Bucket": "no-such-bucket", "Name": "x.mp4"},
        {"Bucket": "synthetic-archive", "Name": "KEY", "Version": "0" * 32},
    ],
)
def test_missing_objects_are_refused(service: Service, keys: list[str], where: dict[str, str]) -> None:
    """A missing bucket, object or version is InvalidS3ObjectException."""
    where = {name: keys[0] if value == "KEY" else value for name, value in where.items()}
    with pytest.raises(ClientError) as error:
        service.client("rekognition").start_content_moderation(Video={"S3Object": where})
    assert code_of(error) == "InvalidS3ObjectException"


def test_videos_above_10_gib_are_refused(service: Service, tmp_path: Any) -> None:
    """A larger object is VideoTooLargeException, and AWS's message names both sizes."""
    size_bytes = 10 * 2**30 + 1
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(size_bytes)
    bucket = service.publish(tmp_path)
    with pytest.raises(ClientError, match=f"{size_bytes} is more than the maximum") as error:
        service.client("rekognition").start_content_moderation(
            Video={"S3Object": {"Bucket": bucket, "Name": "large.mp4"}}
        )
    assert code_of(error) == "VideoTooLargeException"


def test_a_token_starts_one_job(service: Service, keys: list[str]) -> None:
    """The same request under the same token gives the same JobId, is paid once and sends no second notice."""
    rekognition, sqs, lane = service.client("rekognition", "tokens"), service.client("sqs", "tokens"), "tokens"
    request = {"ClientRequestToken": secrets.token_hex(32), "NotificationChannel": service.channel(lane)}
    job_ids = [start(rekognition, keys[1], **request)]
    finished(rekognition, job_ids[0])
    job_ids += [start(rekognition, keys[1], **request) for _ in range(3)]
    another = start(rekognition, keys[2], NotificationChannel=service.channel(lane))
    finished(rekognition, another)
    heard = [
        notice(message)["JobId"]
        for _ in range(3)
        for message in received(sqs, service.lane(lane).queue_url, WaitTimeSeconds=0)
    ]

    assert len(set(job_ids)) == 1
    assert sorted(heard) == sorted([job_ids[0], another])
    assert [paid["job_id"] for paid in service.get_json("/_ledger")["paid"]].count(job_ids[0]) == 1


@pytest.mark.parametrize("change", [{"MinConfidence": 60}, {"JobTag": "other"}, {"key": 3}, {"channel": True}])
def test_another_request_under_a_token_is_a_mismatch(service: Service, keys: list[str], change: dict[str, Any]) -> None:
    """A token that comes with anything else than before is IdempotentParameterMismatchException."""
    rekognition = service.client("rekognition", "tokens")
    token = secrets.token_hex(32)
    start(rekognition, keys[1], ClientRequestToken=token, JobTag="first")
    changed = {"JobTag": "first"} | {name: value for name, value in change.items() if name[0].isupper()}
    if "channel" in change:
        changed["NotificationChannel"] = service.channel("tokens")
    with pytest.raises(ClientError, match=token) as error:
        start(rekognition, keys[change.get("key", 1)], ClientRequestToken=token, **changed)
    assert code_of(error) == "IdempotentParameterMismatchException"


def test_tokens_belong_to_an_account_and_region(service: Service, keys: list[str]) -> None:
    """The same token in another account or region starts another job."""
    token = secrets.token_hex(32)
    clients = [
        service.client("rekognition", "tokens"),
        service.client("rekognition", "tokens", region="eu-west-1"),
        service.client("rekognition", "main"),
    ]
    assert len({start(client, keys[1], ClientRequestToken=token) for client in clients}) == 3


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    """The answer to a call: its response, or what a refusal holds."""
    try:
        return call()
    except ClientError as error:
        return error.response


def test_call_rates_are_limited(service: Service, keys: list[str]) -> None:
    """Starts beyond the burst are ProvisionedThroughputExceededException and start nothing; Get has its own pace."""
    rekognition = service.client("rekognition", "slow")
    video_of_archive = {"S3Object": {"Bucket": "synthetic-archive", "Name": keys[4]}}
    answers = [outcome(lambda: rekognition.start_content_moderation(Video=video_of_archive)) for _ in range(20)]
    throttled = [answer for answer in answers if "Error" in answer]
    paid = [entry for entry in service.get_json("/_ledger")["paid"] if entry["account"] == account_of("slow")]

    assert all("JobId" in answer for answer in answers[:2])
    assert throttled
    assert len(paid) == len(answers) - len(throttled)
    for answer in throttled:
        assert answer["Error"]["Code"] == "ProvisionedThroughputExceededException"
        assert answer["Error"]["Message"] == "Provisioned Rate exceeded."
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert answer["ResponseMetadata"]["RequestId"]
    unknown = outcome(lambda: rekognition.get_content_moderation(JobId="0" * 64))
    assert unknown["Error"]["Code"] == "ResourceNotFoundException"


def test_quotas_are_those_of_the_region(new_service: Any) -> None:
    """Without a lane or settings, Rekognition's larger regions grant 20 Gets a second and the others 5."""
    service = new_service(quota_burst=1).start()
    for region in ("us-west-2", "us-east-2", "eu-central-1"):
        outcome(lambda region=region: service.client("rekognition", "nobody", region).get_content_moderation(JobId="x"))
    granted = {use["region"]: use["granted"] for use in service.get_json("/_ledger?summary=1")["quotas"]}
    assert granted == {"us-west-2": 20, "us-east-2": 5, "eu-central-1": 5}


def test_the_use_of_a_quota_is_a_share_of_it(new_service: Any) -> None:
    """Hammering uses nearly all of a quota and no more."""
    service = new_service(quota_burst=2, quotas={"get_per_second": 50}).start()
    rekognition = service.client("rekognition")
    for _ in range(60):
        outcome(lambda: rekognition.get_content_moderation(JobId="x"))
    [use] = service.get_json("/_ledger?summary=1")["quotas"]
    assert 0.8 <= use["used"] <= 1


def test_running_jobs_are_limited(new_service: Any) -> None:
    """One job more than the account may run is LimitExceededException with AWS's words; a replay needs no slot."""
    service = new_service(speed=1).start()
    rekognition = service.client("rekognition", "small")
    keys = archive_keys(service)[:4]
    job_ids = [start(rekognition, key, ClientRequestToken=f"token-{place}") for place, key in enumerate(keys[:3])]
    with pytest.raises(ClientError) as error:
        start(rekognition, keys[3])
    user = f"arn:aws:iam::{account_of('small')}:user/modworker"

    assert error.value.response["Error"] == {
        "Code": "LimitExceededException",
        "Message": f"3 open Jobs for User {user} Maximum limit: 3",
    }
    assert start(rekognition, keys[0], ClientRequestToken="token-0") == job_ids[0]
    assert service.get_json("/_ledger?summary=1")["most_running"] == 3

"""Whatever a service answers, a call brings a result or an `AwsError`, and no answer fills the memory."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.aws.raw_http import RawServer, http, raw_server
from tests.system.small_aws import SmallAws
from worker.aws.answers import LARGEST_BYTES, LARGEST_PAGE_BYTES, LONGEST_MESSAGE
from worker.aws.notices import Queue, Unreadable, read_message
from worker.aws.objects import Objects
from worker.aws.rekognition import Rekognition, announced_limit
from worker.aws.session import Clients, Credentials, open_clients
from worker.config import Lane
from worker.errors import AwsError, UnreadableError, Verdict
from worker.model import Channel, Job, Notice, Object, ReadyJob

JOB = Job(1, "mw1.0", "0" * 64, "archive", "a.mp4", None, 50.0, Channel(1, "arn:t", "arn:r"), 0.0, is_replay=False)
READY = ReadyJob(1, "a" * 64, "mw1.0", "archive", "a.mp4", None, "e1", "TIMESTAMPS", 1, None, b"", 0, 0, 1.0)
Call = Callable[[Clients], Awaitable[Any]]


async def received(clients: Clients) -> list[Any]:
    return [read_message(message) for message in await Queue(clients.sqs, f"{URL}/q").receive()]


URL = "http://127.0.0.1:1/123456789012"
CALLS: dict[str, Call] = {
    "StartContentModeration": lambda clients: Rekognition(clients.rekognition).start(JOB),
    "GetContentModeration": lambda clients: Rekognition(clients.rekognition).get(READY, None),
    "ReceiveMessage": received,
    "DeleteMessageBatch": lambda clients: Queue(clients.sqs, f"{URL}/q").delete(["receipt"]),
    "ChangeMessageVisibilityBatch": lambda clients: Queue(clients.sqs, f"{URL}/q").leave(["receipt"], 2),
    "HeadObject": lambda clients: Objects(clients.s3).head(Object("archive", "a.mp4")),
    "ListObjectsV2": lambda clients: Objects(clients.s3).page("archive", "", "t"),
    "HeadBucket": lambda clients: Objects(clients.s3).region_of("archive"),
}
S3 = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%b</ListBucketResult>'
ERROR = b'{"__type": %b, "message": %b}'
BODIES = [
    *(b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b'"text"', b"NaN", b"<html>", b"[" * 100_000, b'{"a":' * 100_000),
    *(b"9" * 10_000, b"\x00", b"\xef\xbb\xbf{}"),
    *(b'{"JobId": %b}' % value for value in (b"7", b"[]", b"{}", b"null", b'""', b'"a\\u0000"', b'"\\ud800"')),
    *(b'{"Messages": %b}' % value for value in (b"7", b'"text"', b"{}", b"[null]", b"[7]", b"[[]]", b"[{}]")),
    *(b'{"Messages": [{"Attributes": %b}]}' % value for value in (b"7", b"[]", b'{"ApproximateReceiveCount": "x"}')),
    b'{"Messages": [{"MessageId": 7, "ReceiptHandle": [], "Body": {}}]}',
    *(b'{"Failed": %b}' % value for value in (b"7", b"[null]", b"{}")),
    b"<",
    b"<a>",
    b"<a/>",
    b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
    b"<a>" * 10_000,
    S3 % b"<IsTruncated>maybe</IsTruncated>",
    S3 % b"<IsTruncated>true</IsTruncated>",
    S3 % b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
    S3 % b"<Contents><Size>1</Size></Contents>",
    S3 % b"<Contents><Key>a</Key><Size>many</Size></Contents>",
    S3 % b"<Contents><Key>a</Key><LastModified>never</LastModified></Contents>",
    S3 % b"<EncodingType>url</EncodingType><Contents><Key>%00%ff</Key><Size>-1</Size></Contents>",
]
STRANGE = {
    **{f"body {number}": http(body) for number, body in enumerate(BODIES)},
    **{f"body {number} of an error": http(body, status=b"400 Bad Request") for number, body in enumerate(BODIES[:14])},
    **{
        f"status {status!r}": http(b"{}", status=status)
        for status in (b"204 No", b"300 Many", b"301 Moved", b"418 T", b"599 X")
    },
    "code of another type": http(ERROR % (b"7", b"7"), status=b"400 Bad Request"),
    "code that is long": http(ERROR % (b'"%b"' % (b"x" * 100_000), b'"y"'), status=b"400 Bad Request"),
    "message that is long": http(ERROR % (b'"Odd"', b'"%b"' % (b"y" * 60_000)), status=b"400 Bad Request"),
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "header that is not UTF-8": http(b"{}", b"ETag: \xff\xfe"),
    "header with NUL": http(b"{}", b"ETag: a\x00b"),
    "length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "cut short": http(b'{"JobStatus": "SUCC', length=1000),
    "chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "date that never is": http(b"{}", b"Last-Modified: the day after tomorrow"),
    "long ETag": http(b"{}", b'ETag: "%b"' % (b"e" * 5_000)),
    "ETag with an escape": http(b"{}", b"ETag: \x1b[2J"),
    "no such checksum": http(b"{}", b"x-amz-checksum-crc32: AAAAAA=="),
}


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with raw_server() as raw:
        yield raw


@pytest.fixture
async def clients(raw: RawServer) -> AsyncIterator[Clients]:
    """Clients of a server that answers whatever it is told; without an endpoint for STS nobody asks for the account."""
    where = dict.fromkeys(("rekognition", "sqs", "s3"), raw.url)
    lane = Lane(**SmallAws().lane(endpoint_url=None, endpoints=where, queue_url=f"{URL}/q"))
    async with open_clients(lane, Credentials("AKIDEXAMPLE", "secret")) as clients:
        yield clients


@pytest.mark.parametrize("operation", CALLS)
async def test_strange_answers_are_results_or_errors_with_a_verdict(raw: RawServer, clients: Clients, operation: str):
    """No answer makes a call raise anything but an `AwsError`, whose code and words are short."""
    for name, answer in STRANGE.items():
        raw.answer = answer
        outcome = await outcome_of(CALLS[operation](clients))
        if isinstance(outcome, AwsError):
            assert len(outcome.code) <= 128, name
            assert len(outcome.message) <= LONGEST_MESSAGE + 100, name
        else:
            assert not isinstance(outcome, Exception), f"{name}: {outcome!r}"
            assert operation not in ("StartContentModeration", "GetContentModeration"), f"{name}: {outcome!r}"


async def outcome_of(call: Awaitable[Any]) -> Any:
    """What a call gives or raises."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 (the tests look at it)
        return error


@pytest.mark.parametrize("body", [b"{}", b'{"JobId": "a\\u0000b"}', b'{"JobId": "%b"}' % (b"x" * 65), b'{"JobId": 7}'])
async def test_start_without_a_job_id_is_asked_again(raw: RawServer, clients: Clients, body: bytes):
    """What cannot be a JobId is as none: the same token is replayed."""
    raw.answer = http(body)
    with pytest.raises(AwsError) as caught:
        await CALLS["StartContentModeration"](clients)
    assert caught.value.verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b'{"JobStatus": "SUCCEEDED", "JobTag": "\xff"}', Verdict.RETRY),
        (b'{"JobStatus": "SUCCEEDED"', Verdict.RETRY),
        (b'{"JobStatus": "PARTIAL"}', Verdict.JOB_FAILED),
        (b'{"JobStatus": "SUCCEEDED", "JobId": "b"}', Verdict.JOB_FAILED),
        (b'{"JobStatus": "SUCCEEDED", "JobTag": "mw1.1"}', Verdict.JOB_FAILED),
        (b'{"JobStatus": "SUCCEEDED", "Video": {"S3Object": {"Bucket": "archive", "Name": "b"}}}', Verdict.JOB_FAILED),
        (b'{"JobStatus": "SUCCEEDED", "VideoMetadata": {"DurationMillis": 86400001}}', Verdict.JOB_FAILED),
    ],
)
async def test_page_that_cannot_be_used_is_handed_over_with_its_body(
    raw: RawServer, clients: Clients, body: bytes, verdict: Verdict
):
    """What may have been cut short is asked for again, what has another form is not; its bytes are there to be kept."""
    raw.answer = http(body)
    with pytest.raises(UnreadableError) as caught:
        await CALLS["GetContentModeration"](clients)
    assert caught.value.verdict is verdict
    assert caught.value.body[:20] in (body[:20], body[:20].replace(b": ", b":"), b'{"JobStatus":"SUCCEE')


async def test_page_that_names_itself_as_the_next_one_is_refused(raw: RawServer, clients: Clients):
    """The token that was just used leads nowhere."""
    raw.answer = http(b'{"JobStatus": "SUCCEEDED", "NextToken": "t"}')
    assert (await Rekognition(clients.rekognition).get(READY, None)).next_token == "t"
    with pytest.raises(UnreadableError, match="names itself"):
        await Rekognition(clients.rekognition).get(READY, "t")


async def test_job_that_is_in_progress_again_is_no_answer(raw: RawServer, clients: Clients):
    """A job of which a page was read cannot be in progress: it would be asked for ever."""
    raw.answer = http(b'{"JobStatus": "IN_PROGRESS"}')
    assert (await Rekognition(clients.rekognition).get(READY, None)).job_status == "IN_PROGRESS"
    with pytest.raises(UnreadableError, match="in progress"):
        await Rekognition(clients.rekognition).get(READY, "t")


@pytest.mark.parametrize("is_told", [True, False])
async def test_answer_that_is_too_large_is_not_read(raw: RawServer, clients: Clients, *, is_told: bool):
    """Of fifty megabytes no more is taken than a page can have, and nothing where the head tells of them."""
    body = b'{"JobStatus": "SUCCEEDED"}' + b" " * 50_000_000
    raw.answer = http(body) if is_told else b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableError, match="larger than"):
        await CALLS["GetContentModeration"](clients)
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(f"sent {raw.sent_bytes:,}, peak grew by {grown_bytes:,} bytes")
    assert raw.sent_bytes < (LARGEST_PAGE_BYTES * 2 if not is_told else LARGEST_PAGE_BYTES)


async def test_half_a_character_in_a_message_hides_no_other(raw: RawServer, clients: Clients):
    """SQS lets none through; a message that has one is put aside, and can be deleted."""
    body = b'{"Messages": [{"Body": "\\ud800", "ReceiptHandle": "\\ud800"}, {"Body": "{\\"JobId\\": \\"a\\"}"}]}'
    raw.answer = http(body)
    broken, notice = await CALLS["ReceiveMessage"](clients)
    assert isinstance(broken, Unreadable)
    assert notice == Notice("a", "", 1)
    raw.answer = http(b"{}")
    assert await Queue(clients.sqs, f"{URL}/q").delete([broken.receipt_handle]) == 0


async def test_true_answers_fit_the_bounds(raw: RawServer, clients: Clients):
    """A page of a thousand long labels and a full batch of the largest messages are read; HEAD of 10 GB has no body."""
    entry = b'{"Timestamp":1,"ModerationLabel":{"Name":"%b","ParentName":"%b","Confidence":50.0}}' % (
        (b"\\u00e9" * 256,) * 2
    )
    raw.answer = http(b'{"JobStatus": "SUCCEEDED", "ModerationLabels": [%b]}' % b",".join([entry] * 1_000))
    assert len((await CALLS["GetContentModeration"](clients)).moderation_labels) == 1_000
    message = b'{"MessageId": "m", "ReceiptHandle": "r", "Body": "%b"}' % (b"x" * 2**20)
    raw.answer = http(b'{"Messages": [%b]}' % b",".join([message] * 10))
    assert len(await CALLS["ReceiveMessage"](clients)) == 10
    raw.answer = http(b"", b'ETag: "e1"', length=10 * 2**30)
    assert (await CALLS["HeadObject"](clients)).size_bytes == 10 * 2**30
    assert set(LARGEST_BYTES) == {"rekognition", "sqs", "s3", "sns", "iam"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("22 open Jobs for User arn:aws:iam::123456789012:user/u Maximum limit: 20", 20),
        ("Maximum limit: 100000000000", None),
        ("Subscriber limit exceeded", None),
        ("", None),
    ],
)
def test_announced_limit_is_read_where_there_is_one(message: str, expected: int | None):
    """A LimitExceededException says how many jobs may run, mostly."""
    assert announced_limit(message) == expected

"""StartContentModeration and GetContentModeration, one attempt each, the page decoded straight into typed records."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, json

from worker.aws.answers import LABELS_A_PAGE, translated
from worker.aws.posts import Posts
from worker.aws.requests import Requests
from worker.errors import AwsError, UnreadableError, Verdict
from worker.model import Detection, Job, ReadyJob

START = "StartContentModeration"
GET = "GetContentModeration"
JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # as the API reference gives it for both operations
ANNOUNCED_LIMIT = re.compile(r"\bMaximum limit: (\d{1,7})\b")  # "20 open Jobs for User … Maximum limit: 20"
LONGEST_VIDEO_MS = 86_400_000  # four times what Rekognition takes: more would spoil the books

_Word = Annotated[str, Meta(max_length=256)]
_Pixels = Annotated[int, Meta(ge=0, le=2**31 - 1)]


def announced_limit(message: str) -> int | None:
    """The number of concurrent jobs that a LimitExceededException names, None if it names none."""
    found = ANNOUNCED_LIMIT.search(message)
    return int(found[1]) if found else None


class _S3Object(Struct, frozen=True, rename="pascal"):
    bucket: str | None = None
    name: str | None = None


class _Video(Struct, frozen=True):
    S3Object: _S3Object = _S3Object()


class VideoMetadata(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """What Rekognition says of the video itself; the names are AWS's."""

    codec: _Word | None = None
    duration_millis: Annotated[int, Meta(ge=0, le=LONGEST_VIDEO_MS)] | None = None
    format: _Word | None = None
    frame_rate: Annotated[float, Meta(ge=0)] | None = None
    frame_height: _Pixels | None = None
    frame_width: _Pixels | None = None
    color_range: _Word | None = None


class Answer(Struct, frozen=True, rename="pascal"):
    """A response of GetContentModeration; members that are not listed are skipped."""

    job_status: Literal["IN_PROGRESS", "SUCCEEDED", "FAILED"]
    status_message: str | None = None
    video_metadata: VideoMetadata | None = None
    moderation_labels: Annotated[list[Detection], Meta(max_length=LABELS_A_PAGE)] = []
    next_token: Annotated[str, Meta(max_length=4096)] | None = None
    moderation_model_version: _Word | None = None
    job_id: str | None = None
    job_tag: str | None = None
    video: _Video = _Video()


class _Started(Struct, frozen=True, rename="pascal"):
    job_id: str | None = None


_decode = json.Decoder(Answer).decode
_decode_started = json.Decoder(_Started).decode


def page_of(body: bytes) -> Answer:
    """Decode a page: botocore's own parser walks every shape and takes ten times as long.

    Raises:
        UnreadableError: JOB_FAILED for a page of the wrong form, which will not get better; RETRY for what is no JSON,
            since it may have been cut short on its way.

    """
    try:
        return _decode(body)
    except (ValidationError, RecursionError) as error:
        raise UnreadableError(str(error), Verdict.JOB_FAILED, body) from None
    except ValueError as error:  # also of text that is not UTF-8
        raise UnreadableError(str(error), Verdict.RETRY, body) from None


class Rekognition:
    """The two operations of one lane."""

    def __init__(self, requests: Requests) -> None:
        self._posts = Posts(requests)

    async def start(self, job: Job) -> str:
        """Start a job, or find the one that its token has started already; returns the JobId."""
        name = {"Bucket": job.bucket, "Name": job.key}
        if job.version_id:
            name["Version"] = job.version_id
        request = {
            "Video": {"S3Object": name},
            "MinConfidence": job.min_confidence,
            "ClientRequestToken": job.token,
            "NotificationChannel": {"SNSTopicArn": job.channel.topic_arn, "RoleArn": job.channel.role_arn},
            "JobTag": job.tag,
        }
        with translated():
            started = _decode_started(await self._posts.send(START, json.encode(request)))
        if started.job_id is None or not JOB_ID.fullmatch(started.job_id):
            raise AwsError(Verdict.RETRY, "NoJobId", "the answer holds no JobId")
        return started.job_id

    async def get(self, job: ReadyJob, next_token: str | None) -> Answer:
        """Read one page.

        Raises:
            AwsError: an UnreadableError for what cannot be a page of this job.

        """
        request: dict[str, Any] = {
            "JobId": job.aws_job_id,
            "MaxResults": LABELS_A_PAGE,
            "SortBy": "TIMESTAMP",
            "AggregateBy": job.aggregate_by,
        }
        if next_token:
            request["NextToken"] = next_token
        with translated():
            answer = page_of(await self._posts.send(GET, json.encode(request)))
        if reason := _impossible(answer, job, next_token):
            raise UnreadableError(reason, Verdict.JOB_FAILED, json.encode(answer))
        if answer.job_status == "IN_PROGRESS" and (next_token or job.next_page > 1):
            raise UnreadableError(
                "the job is in progress, of which pages were read", Verdict.RETRY, json.encode(answer)
            )
        return answer


def _impossible(answer: Answer, job: ReadyJob, token: str | None) -> str | None:
    """Why this cannot be the page that was asked for; None if it can."""
    said = answer.video.S3Object
    is_ours = (
        answer.job_id in (None, "", job.aws_job_id)
        and answer.job_tag in (None, "", job.tag)
        and said.bucket in (None, job.bucket)
        and said.name in (None, job.key)
    )
    if not is_ours:
        return "the page is about another video"
    if token and answer.next_token == token:
        return "the page names itself as the next one"
    return None

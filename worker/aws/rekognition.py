"""StartContentModeration and GetContentModeration, one attempt each, the page decoded straight into typed records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import DecodeError, Meta, Struct, ValidationError, json

from worker.aws.session import translated
from worker.errors import AwsError, Verdict
from worker.model import Detection, Job, ReadyJob

LABELS_A_PAGE = 1000  # the most that GetContentModeration returns
START = "StartContentModeration"
GET = "GetContentModeration"


class _S3Object(Struct, frozen=True, rename="pascal"):
    bucket: str | None = None
    name: str | None = None


class _Video(Struct, frozen=True):
    S3Object: _S3Object = _S3Object()


class VideoMetadata(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """What Rekognition says of the video itself; the names are AWS's."""

    codec: str | None = None
    duration_millis: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    format: str | None = None
    frame_rate: float | None = None
    frame_height: int | None = None
    frame_width: int | None = None
    color_range: str | None = None


class Answer(Struct, frozen=True, rename="pascal"):
    """A response of GetContentModeration; members that are not listed are skipped."""

    job_status: Literal["IN_PROGRESS", "SUCCEEDED", "FAILED"]
    status_message: str | None = None
    video_metadata: VideoMetadata | None = None
    moderation_labels: list[Detection] = []
    next_token: Annotated[str, Meta(max_length=4096)] | None = None
    moderation_model_version: Annotated[str, Meta(max_length=256)] | None = None
    job_tag: str | None = None
    video: _Video = _Video()


_decode = json.Decoder(Answer).decode


def decode_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Event handler `before-parse`: botocore's own parser walks every shape and takes ten times as long.

    Errors (any status but 200) stay botocore's.
    """
    if response_dict["status_code"] == 200:
        customized_response_dict["answer"] = _decode(response_dict["body"])
        response_dict["body"] = b"{}"


class Rekognition:
    """The two operations of one lane."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # Once a client, however often its lane is lost and taken again: a second decoder would find an empty body.
        client.meta.events.register(f"before-parse.rekognition.{GET}", decode_page, unique_id="decode_page")

    async def start(self, job: Job) -> str:
        """Start a job, or find the one that its token has started already; returns the JobId."""
        name = {"Bucket": job.bucket, "Name": job.key}
        if job.version_id:
            name["Version"] = job.version_id
        with translated():
            response = await self._client.start_content_moderation(
                Video={"S3Object": name},
                MinConfidence=job.min_confidence,
                ClientRequestToken=job.token,
                NotificationChannel={"SNSTopicArn": job.channel.topic_arn, "RoleArn": job.channel.role_arn},
                JobTag=job.tag,
            )
            if not response.get("JobId"):
                raise AwsError(Verdict.RETRY, "NoJobId", "the answer holds no JobId")
            return str(response["JobId"])

    async def get(self, job: ReadyJob, next_token: str | None) -> Answer:
        """Read one page.

        Raises:
            AwsError: also JOB_FAILED for a page that cannot be what AWS documents, or that is about another job.

        """
        request: dict[str, Any] = {
            "JobId": job.aws_job_id,
            "MaxResults": LABELS_A_PAGE,
            "SortBy": "TIMESTAMP",
            "AggregateBy": job.aggregate_by,
        }
        if next_token:
            request["NextToken"] = next_token
        with translated(), _unreadable():
            answer: Answer = (await self._client.get_content_moderation(**request))["answer"]
        _refuse_foreign(answer, job)
        return answer


class _unreadable:  # noqa: N801 (a context manager reads as a verb)
    """Tells a page of the wrong form, which will not get better, from one that was cut short on its way."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ValidationError | RecursionError):
            raise AwsError(Verdict.JOB_FAILED, "unreadable result", str(error)) from None
        if isinstance(error, DecodeError):
            raise AwsError(Verdict.RETRY, "BrokenAnswer", str(error)) from None


def _refuse_foreign(answer: Answer, job: ReadyJob) -> None:
    said = answer.video.S3Object
    is_ours = (
        answer.job_tag in (None, "", job.tag) and said.bucket in (None, job.bucket) and said.name in (None, job.key)
    )
    if not is_ours:
        raise AwsError(Verdict.JOB_FAILED, "unreadable result", "the page is about another video")

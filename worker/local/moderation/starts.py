"""StartContentModeration."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from typing import Any

import anyio
import msgspec

from worker.local.analysts.analysis import StoredVideo
from worker.local.faults.faults import Faults
from worker.local.faults.plan import Early
from worker.local.moderation.quotas import Quotas
from worker.local.moderation.runner import Runner
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError, documented, invalid
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import NewJob, Token
from worker.local.storage.objects import Objects

LARGEST_VIDEO_BYTES = 10 * 2**30
LONGEST_VIDEO_MS = 6 * 3_600_000
_DEFAULT_MIN_CONFIDENCE = 50.0
_POLL_SECONDS = 0.005
_TOKEN_MS = 7 * 86_400_000  # that a ClientRequestToken holds


class S3Object(msgspec.Struct, frozen=True, rename="pascal"):
    """Where a video is stored. The service model demands none of the members; Rekognition the first two."""

    bucket: str | None = None
    name: str | None = None
    version: str | None = None


class Video(msgspec.Struct, frozen=True):
    """The member Video."""

    s3_object: S3Object | None = msgspec.field(name="S3Object", default=None)


class NotificationChannel(msgspec.Struct, frozen=True):
    """Where the notice goes, and by which role."""

    topic_arn: str = msgspec.field(name="SNSTopicArn")
    role_arn: str = msgspec.field(name="RoleArn")


class StartRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """A request whose members have been checked against its shape."""

    video: Video
    min_confidence: float | None = None
    client_request_token: str | None = None
    notification_channel: NotificationChannel | None = None
    job_tag: str | None = None

    @property
    def fingerprint(self) -> bytes:
        """The same for requests that ask for the same, whatever their token."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, client_request_token=None))).digest()


class Starts:
    """Starts jobs: a job that was answered is in the database, and no token starts two."""

    def __init__(self, database: Database, runner: Runner, objects: Objects, quotas: Quotas, faults: Faults) -> None:
        self._database = database
        self._clock = database.clock
        self._runner = runner
        self._objects = objects
        self._quotas = quotas
        self._faults = faults

    async def start(self, caller: Caller, parameters: dict[str, Any]) -> bytes:
        """Answer a request that has been checked against its shape."""
        request = msgspec.convert(parameters, StartRequest)
        stored = _stored_at(caller, request)
        if (job_id := self._replayed(self._database.reader, caller, request)) is not None:
            await self._database.write(jobs.count_replay)
            return _answer(job_id)
        self._quotas.require_slot(caller, jobs.running(self._database.reader, caller))
        job = await self._new_job(caller, request, _accepted(await self._objects.find(caller, *stored)))
        if early := self._faults.early(job):
            job = msgspec.structs.replace(job, ends_at_ms=job.started_at_ms)
        job_id = await self._database.write(lambda connection: self._commit(connection, caller, request, job))
        self._runner.announce(job)
        if early:
            await self._overtaken(job_id, early)
        return _answer(job_id)

    async def _overtaken(self, job_id: str, early: Early) -> None:
        """Wait until the job's notice has been sent, and a while longer."""
        while (job := jobs.find(self._database.reader, job_id)) and job.status == jobs.IN_PROGRESS:  # noqa: ASYNC110 (no event tells of one job)
            await anyio.sleep(_POLL_SECONDS)
        await anyio.sleep(early.seconds)

    def _commit(self, connection: sqlite3.Connection, caller: Caller, request: StartRequest, job: NewJob) -> str:
        if (job_id := self._replayed(connection, caller, request)) is not None:
            jobs.count_replay(connection)
            return job_id
        self._quotas.require_slot(caller, jobs.running(connection, caller))
        jobs.insert(connection, job)
        if job.token is not None:
            bound = Token(request.fingerprint, job.job_id, job.started_at_ms)
            jobs.bind_token(connection, caller, job.token, bound)
        return job.job_id

    def _replayed(self, connection: sqlite3.Connection, caller: Caller, request: StartRequest) -> str | None:
        """The job that was started by the same request before, under a token that is still good."""
        if (token := request.client_request_token) is None:
            return None
        bound = jobs.find_token(connection, caller, token, self._clock.now_ms() - _TOKEN_MS)
        if bound is not None and bound.request != request.fingerprint:
            message = f"The ClientRequestToken: {token} you have supplied is already in use."
            raise ServiceError("IdempotentParameterMismatchException", message)
        return None if bound is None else bound.job_id

    async def _new_job(self, caller: Caller, request: StartRequest, video: StoredVideo) -> NewJob:
        video_ms = await self._runner.duration_ms(video)
        if video_ms is not None and video_ms > LONGEST_VIDEO_MS:
            limit = f"{LONGEST_VIDEO_MS} milliseconds."
            message = f"Video duration in milliseconds: {video_ms} is more than the maximum limit of: {limit}"
            raise ServiceError("VideoTooLargeException", message)
        started_at_ms = self._clock.now_ms()
        channel = request.notification_channel
        return NewJob(
            job_id=secrets.token_hex(32),
            account=caller.account,
            region=caller.region,
            bucket=video.bucket,
            key=video.key,
            version_id=video.version_id,
            size_bytes=video.size_bytes,
            min_confidence=_DEFAULT_MIN_CONFIDENCE if request.min_confidence is None else request.min_confidence,
            token=request.client_request_token,
            tag=request.job_tag,
            topic_arn=None if channel is None else channel.topic_arn,
            started_at_ms=started_at_ms,
            ends_at_ms=self._runner.ends_at_ms(video_ms, started_at_ms),
            seed=self._runner.seed,
        )


def _stored_at(caller: Caller, request: StartRequest) -> tuple[str, str, str | None]:
    """(bucket, key, version) of a request that makes sense."""
    stored = request.video.s3_object
    if stored is None or stored.bucket is None or stored.name is None:
        raise invalid("Video.S3Object must name a bucket and an object")
    channel = request.notification_channel
    if channel is not None and channel.topic_arn.split(":")[3] != caller.region:
        raise invalid(f"NotificationChannel.SNSTopicArn is not in {caller.region}")
    return stored.bucket, stored.name, stored.version


def _accepted(video: StoredVideo | None) -> StoredVideo:
    if video is None:
        raise documented("InvalidS3ObjectException")
    if video.size_bytes > LARGEST_VIDEO_BYTES:
        raise ServiceError(
            "VideoTooLargeException",
            f"Video size in bytes: {video.size_bytes} is more than the maximum limit of: {LARGEST_VIDEO_BYTES} bytes.",
        )
    return video


def _answer(job_id: str) -> bytes:
    return msgspec.json.encode({"JobId": job_id})

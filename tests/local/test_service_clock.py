"""The service's clock at many times true speed: what counts on it, and what stays in the client's own seconds.

Moments are those of the service: it stamps every message that is sent. A call is known to have been answered between
the stamps before and after it, so that no test depends on how fast a machine is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import AT_ONCE, Service, finished, notice, received, until

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
DAY_A_SECOND = 86_400
WEEK_IN_TWO_SECONDS = 302_400
HOUR_A_SECOND = 3_600
READINGS = [{"AggregateBy": "TIMESTAMPS"}, {"AggregateBy": "SEGMENTS"}, {"SortBy": "NAME"}]
NewService = Callable[..., Service]


class Watch:
    """Reads the service's clock by the stamp of a message."""

    def __init__(self, service: Service) -> None:
        self._sqs = service.client("sqs", "queue")
        self._queue_url = self._sqs.create_queue(
            QueueName="watch", Attributes={"MessageRetentionPeriod": str(WEEK_MS // 500)}
        )["QueueUrl"]

    def now_ms(self) -> int:
        sent = self._sqs.send_message(QueueUrl=self._queue_url, MessageBody="now")["MessageId"]
        while True:
            for message in received(self._sqs, self._queue_url, AttributeNames=["SentTimestamp"], WaitTimeSeconds=1):
                if message["MessageId"] == sent:
                    return int(message["Attributes"]["SentTimestamp"])

    def timed(self, call: Callable[[], Any]) -> Timed:
        before_ms = self.now_ms()
        answer: Any = None
        code = "ok"
        try:
            answer = call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
        return Timed(answer, code, before_ms, self.now_ms())


class Timed(msgspec.Struct, frozen=True):
    """An answer, and between which moments of the service it was given."""

    answer: Any
    code: str
    not_before_ms: int
    not_after_ms: int

    def least_age_ms(self, of: Timed) -> int:
        return self.not_before_ms - of.not_after_ms

    def most_age_ms(self, of: Timed) -> int:
        return self.not_after_ms - of.not_before_ms


def video(key: str) -> dict[str, Any]:
    return {"S3Object": {"Bucket": "synthetic-edge-cases", "Name": key}}


def told(service: Service, job_id: str) -> dict[str, Any]:
    """The notice of the job."""
    sqs, queue_url = service.client("sqs"), service.lane().queue_url

    def mine() -> dict[str, Any] | None:
        heard = [notice(message) for message in received(sqs, queue_url, WaitTimeSeconds=1)]
        return next((one for one in heard if one["JobId"] == job_id), None)

    return until(mine)


def expires(ask: Callable[[], Timed], born: Timed, life_ms: int, code: str) -> None:
    """Ask until the answer is the refusal; what is granted is young enough, what is refused is old enough."""

    def is_over() -> bool:
        timed = ask()
        if timed.code == "ok":
            assert timed.least_age_ms(born) <= life_ms
            return False
        assert timed.code == code
        assert timed.most_age_ms(born) > life_ms
        return True

    until(is_over)


def test_a_page_token_dies_after_a_day(new_service: NewService) -> None:
    """A NextToken is good for 24 hours of the service's clock and for no more."""
    service = new_service(speed=DAY_A_SECOND, **AT_ONCE).start()
    rekognition, watch = service.client("rekognition"), Watch(service)
    job_id = rekognition.start_content_moderation(Video=video("two-and-a-half-pages.mp4"))["JobId"]
    finished(rekognition, job_id)
    issued = watch.timed(lambda: rekognition.get_content_moderation(JobId=job_id)["NextToken"])

    def ask() -> Timed:
        return watch.timed(lambda: rekognition.get_content_moderation(JobId=job_id, NextToken=issued.answer))

    expires(ask, issued, DAY_MS, "InvalidPaginationTokenException")
    assert rekognition.get_content_moderation(JobId=job_id)["NextToken"] != issued.answer


def test_a_job_dies_after_a_week(new_service: NewService) -> None:
    """Results are kept for 7 days after the job's end in every view, one that was just read included."""
    service = new_service(speed=WEEK_IN_TWO_SECONDS, **AT_ONCE).start()
    rekognition, watch = service.client("rekognition"), Watch(service)
    job_id = rekognition.start_content_moderation(Video=video("one-page.mp4"), NotificationChannel=service.channel())[
        "JobId"
    ]
    ended_ms = told(service, job_id)["Timestamp"]
    ended = Timed(job_id, "ok", ended_ms, ended_ms)
    expired: set[int] = set()

    def ask(number: int) -> None:
        timed = watch.timed(lambda: rekognition.get_content_moderation(JobId=job_id, MaxResults=1, **READINGS[number]))
        if timed.code == "ok":
            assert timed.least_age_ms(ended) <= WEEK_MS
        else:
            assert timed.code == "ResourceNotFoundException"
            assert timed.most_age_ms(ended) > WEEK_MS
            expired.add(number)

    def are_over() -> bool:
        for number in range(len(READINGS)):
            ask(number)
        return len(expired) == len(READINGS)

    until(are_over)


def test_a_request_token_is_free_again_after_a_week(new_service: NewService) -> None:
    """For 7 days the token leads to its job; then the same request starts, and pays for, another one."""
    service = new_service(speed=WEEK_IN_TWO_SECONDS, **AT_ONCE).start()
    rekognition, watch = service.client("rekognition"), Watch(service)

    def ask() -> Timed:
        return watch.timed(
            lambda: rekognition.start_content_moderation(Video=video("one-label.mp4"), ClientRequestToken="weekly")
        )

    def is_another() -> bool:
        again = ask()
        if again.answer["JobId"] == first.answer["JobId"]:
            assert again.least_age_ms(first) <= WEEK_MS
            return False
        assert again.most_age_ms(first) >= WEEK_MS
        return True

    first = ask()
    until(is_another)
    paid = service.get_json("/_ledger")["paid"]
    assert [entry["token"] for entry in paid] == ["weekly"] * 2


def test_quotas_count_seconds_of_the_clock(new_service: NewService) -> None:
    """Of calls that come without a pause as many pass as the quota grants in the service's seconds."""
    per_second, passes = 0.5, 50
    service = new_service(speed=100, quota_burst=1, quotas={"get_per_second": per_second}).start()
    rekognition, watch = service.client("rekognition"), Watch(service)
    passed = 0

    def pass_them() -> None:
        nonlocal passed
        ends_at = time.monotonic() + 60
        while passed < passes:
            assert time.monotonic() < ends_at
            with pytest.raises(ClientError) as error:
                rekognition.get_content_moderation(JobId="unknown")
            passed += error.value.response["Error"]["Code"] == "ResourceNotFoundException"

    began_at = time.monotonic()
    timed = watch.timed(pass_them)
    granted_at_most = 1 + per_second * (timed.not_after_ms - timed.not_before_ms) / 1000
    granted_by_true_seconds = 1 + per_second * (time.monotonic() - began_at)
    assert granted_by_true_seconds < passes <= granted_at_most


def test_jobs_take_what_the_settings_say(new_service: NewService) -> None:
    """A job ends job_seconds, and job_seconds_per_video_second for each of the video's, after its start."""
    service = new_service(speed=HOUR_A_SECOND, job_seconds=600, job_seconds_per_video_second=10).start()
    rekognition, watch = service.client("rekognition"), Watch(service)
    for key, video_seconds in (("one-label.mp4", 60), ("one-page.mp4", 240)):
        expected_ms = (600 + 10 * video_seconds) * 1000
        started = watch.timed(
            lambda key=key: rekognition.start_content_moderation(
                Video=video(key), NotificationChannel=service.channel()
            )["JobId"]
        )
        ended_at_ms = told(service, started.answer)["Timestamp"]
        with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database:
            [(started_at_ms, ends_at_ms)] = database.execute(
                "SELECT started_at_ms, ends_at_ms FROM job WHERE job_id = ?", (started.answer,)
            )
        assert started.not_before_ms <= started_at_ms <= started.not_after_ms
        assert ends_at_ms - started_at_ms == expected_ms
        assert ended_at_ms >= ends_at_ms


def test_the_clock_never_goes_back(new_service: NewService) -> None:
    """Over kill -9 and a restart at whatever speed the clock goes on from where it was."""
    service = new_service(speed=DAY_A_SECOND, **AT_ONCE)
    moments_ms = []
    for speed in (DAY_A_SECOND, 1, 60):
        service.settings["local"]["speed"] = speed
        service.start()
        watch = Watch(service)
        moments_ms += [watch.now_ms() for _ in range(3)]
        service.kill()
    assert all(former <= latter for former, latter in pairwise(moments_ms))
    assert moments_ms[0] >= time.time() * 1000 - 60_000


@pytest.mark.parametrize(("idle_seconds", "away_seconds"), [(2.0, 0), (0.4, -3600)])
def test_time_without_a_call_counts_before_a_kill(
    new_service: NewService, idle_seconds: float, away_seconds: int
) -> None:
    """What passed while nothing was asked is not lost by kill -9, even if the machine's own clock was set back."""
    service = new_service(speed=DAY_A_SECOND).start()
    before_ms = Watch(service).now_ms()
    began_at = time.monotonic()
    until(lambda: time.monotonic() - began_at > idle_seconds)
    idle_ms = (time.monotonic() - began_at) * 1000 * DAY_A_SECOND
    service.kill()
    be_away(service, away_seconds)
    service.settings["local"]["speed"] = 1
    service.start()
    assert Watch(service).now_ms() - before_ms >= idle_ms


def test_a_clock_that_was_stopped_stands_at_its_last_moment(new_service: NewService) -> None:
    """After a stop in good order, the time without a process passes at true speed from the first moment on."""
    service = new_service(speed=DAY_A_SECOND).start()
    Watch(service).now_ms()
    service.stop()
    stopped_at_ms = kept_ms(service)
    service.settings["local"]["speed"] = 1
    service.start()
    assert 0 <= Watch(service).now_ms() - stopped_at_ms < 60_000


def kept_ms(service: Service) -> int:
    """The moment of the clock that the database of the service holds."""
    with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database:
        [(now_ms,)] = database.execute("SELECT now_ms FROM clock")
        return int(now_ms)


def be_away(service: Service, true_seconds: int) -> None:
    """Make a service that is not running find that it was away for so much longer."""
    with closing(sqlite3.connect(service.data_dir / "local-service.sqlite")) as database, database:
        database.execute("UPDATE clock SET true_ms = true_ms - ?", (true_seconds * 1000,))


def test_a_killed_service_keeps_its_deadlines(new_service: NewService) -> None:
    """Hours that passed on the clock before a kill count after it: a job that was nearly due is soon over."""
    service = new_service(speed=HOUR_A_SECOND, job_seconds=7200, job_seconds_per_video_second=0).start()
    request = {"Video": video("one-label.mp4"), "NotificationChannel": service.channel()}
    watch = Watch(service)
    started = watch.timed(lambda: service.client("rekognition").start_content_moderation(**request)["JobId"])
    until(lambda: watch.now_ms() - started.not_after_ms > 3_600_000)
    service.kill()
    service.settings["local"]["speed"] = 4 * HOUR_A_SECOND
    service.start()
    ended_at_ms = told(service, started.answer)["Timestamp"]
    assert ended_at_ms - started.not_before_ms >= 7_200_000


def test_long_polls_and_visibility_are_the_clients_own(new_service: NewService) -> None:
    """However fast the clock, a poll waits and a message is hidden for the client's true seconds."""
    service = new_service(speed=HOUR_A_SECOND).start()
    sqs = service.client("sqs", "queue")
    kept = {"MessageRetentionPeriod": "1209600"}
    left, given_back, empty = (
        sqs.create_queue(QueueName=name, Attributes=kept)["QueueUrl"] for name in ("left", "given-back", "empty")
    )
    for queue_url in (left, given_back):
        sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    [held] = received(sqs, given_back, VisibilityTimeout=600)

    began_at = time.monotonic()
    received(sqs, left, VisibilityTimeout=1)
    sqs.change_message_visibility(QueueUrl=given_back, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=1)
    for queue_url in (left, given_back):
        assert len(received(sqs, queue_url)) == 1  # the poll waits for the message to come back
        assert time.monotonic() - began_at >= 0.99

    began_at = time.monotonic()
    assert received(sqs, empty, WaitTimeSeconds=1) == []
    assert time.monotonic() - began_at >= 0.99


def test_hidden_messages_count_the_time_without_a_process(new_service: NewService) -> None:
    """Timeouts and delays that ran out while the service was away are over; of the others the rest is left."""
    service = new_service(speed=HOUR_A_SECOND).start()
    sqs = service.client("sqs", "queue")
    kept = {"MessageRetentionPeriod": "1209600"}
    held, delayed = (sqs.create_queue(QueueName=name, Attributes=kept)["QueueUrl"] for name in ("held", "delayed"))
    for timeout_seconds in (300, 900):
        sqs.send_message(QueueUrl=held, MessageBody=f"{timeout_seconds}")
        sqs.send_message(QueueUrl=delayed, MessageBody=f"{timeout_seconds}", DelaySeconds=timeout_seconds)
        assert len(received(sqs, held, VisibilityTimeout=timeout_seconds)) == 1
    service.kill()
    be_away(service, 600)
    service.start()
    sqs = service.client("sqs", "queue")
    for queue_url in (held, delayed):
        [back] = received(sqs, queue_url, WaitTimeSeconds=0, VisibilityTimeout=1_000)
        assert back["Body"] == "300"
    service.kill()
    be_away(service, 300)
    service.start()
    sqs = service.client("sqs", "queue")
    for queue_url in (held, delayed):
        assert [message["Body"] for message in received(sqs, queue_url, WaitTimeSeconds=0)] == ["900"]


@pytest.mark.parametrize(("before", "after"), [(HOUR_A_SECOND, 1), (1, HOUR_A_SECOND)])
def test_a_timeout_stays_the_clients_own_at_another_speed(new_service: NewService, before: int, after: int) -> None:
    """A message comes back after the client's true seconds, whatever speed the service is restarted with."""
    service = new_service(speed=before).start()
    sqs = service.client("sqs", "queue")
    kept = {"MessageRetentionPeriod": "1209600"}
    queue_url = sqs.create_queue(QueueName="held", Attributes=kept)["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    began_at = time.monotonic()
    [held] = received(sqs, queue_url, VisibilityTimeout=2)
    service.kill()
    service.settings["local"]["speed"] = after
    service.start()
    [again] = received(service.client("sqs", "queue"), queue_url, WaitTimeSeconds=20)
    assert 1.99 <= time.monotonic() - began_at < 15
    assert again["MessageId"] == held["MessageId"]


def test_twelve_hours_of_visibility_outlive_a_change_of_speed(new_service: NewService) -> None:
    """What is left of the 12 hours from the receive is counted in true seconds over a restart, too."""
    service = new_service(speed=HOUR_A_SECOND).start()
    sqs = service.client("sqs", "queue")
    kept = {"MessageRetentionPeriod": "1209600"}
    queue_url = sqs.create_queue(QueueName="held", Attributes=kept)["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="x")
    [message] = received(sqs, queue_url, VisibilityTimeout=43_000)
    service.kill()
    be_away(service, 1_000)
    service.settings["local"]["speed"] = 1
    service.start()
    sqs = service.client("sqs", "queue")
    held = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]}
    sqs.change_message_visibility(**held, VisibilityTimeout=42_100)
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.change_message_visibility(**held, VisibilityTimeout=42_200)

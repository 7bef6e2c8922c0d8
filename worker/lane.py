"""One account and region while this process owns it: its clients, paces and slots, and how they give way to AWS."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog

from worker.aws.notices import Queue
from worker.aws.objects import Objects
from worker.aws.rekognition import GET, START, Rekognition
from worker.aws.session import Clients
from worker.config import Lane as LaneSettings
from worker.config import Settings
from worker.errors import AwsError, Verdict
from worker.failpoints import around
from worker.flow.backlog import Backlog
from worker.flow.clock import now_seconds
from worker.flow.denial import Denial
from worker.flow.estimate import expected_usd
from worker.flow.news import News
from worker.flow.pace import Pace
from worker.flow.signal import Signal
from worker.flow.slots import Slots
from worker.metrics import Metrics
from worker.model import Backfill, Channel, Job, Object, ReadyJob
from worker.store.jobs import UsualTimes
from worker.store.leases import LaneHolder
from worker.traces import UNTRACED, Traces

LEASE_MARGIN = 0.2  # of the lease: no call begins so shortly before its end
SOON_SECONDS = 5.0  # a replayed Start sends no notice, so its job is asked for soon
LONGEST_WAIT_SECONDS = 3600.0
ALARMING = 5 / 7  # of the life of a result that nobody has read yet
STREAK = 5  # objects in a row that S3 shows to us and not to Rekognition: then it is no fault of the objects
NEWS_KEPT = 1000  # jobs that became ready and are not taken yet; more of them are a backlog, and found by their age
PATIENCE = 3.0  # times the usual run time, before a notice counts as overdue

log = structlog.get_logger()


class LaneLost(Exception):  # noqa: N818 (it is a turn of events, not a fault)
    """The lease is over by this process's own clock: it must not call AWS for this lane any more."""


class Lane:
    """What a process owns. Its stages run only while the lease does; the limiter is plain memory."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        owner: LaneHolder,
        channels: list[Channel],
        clients: Clients,
        metrics: Metrics,
        usual_times: UsualTimes,
        traces: Traces = UNTRACED,
    ) -> None:
        config = settings.lanes[name]
        config = clients.quotas.within(config) if clients.quotas else config
        self.name = name
        self.config = config
        self.settings = settings
        self.owner = owner
        self.channels = channels
        self.rekognition = Rekognition(clients.rekognition)
        self.queue = Queue(clients.sqs, config.queue_url)
        self.arrivals_queue = Queue(clients.sqs, config.arrivals.queue_url)
        self.objects = Objects(clients.s3)
        self.metrics = metrics
        self.traces = traces
        self.usual_times = usual_times
        self.slots = Slots(config.concurrent_jobs)
        self.paces = {START: Pace(config.start_per_second), GET: Pace(config.get_per_second)}
        self.work_registered = Signal()  # set by whoever knows that videos may be pending
        self.pages_ready = News(NEWS_KEPT)  # jobs that became ready: told by complete, waited for by fetch
        self.reading: set[int] = set()  # jobs whose pages are fetched or written: added by fetch, taken off by write
        self.out_of_budget: set[str] = set()  # backfills whose last claim found no money; written by start
        self.readable: dict[str, Object] = {}  # an object of each bucket that HEAD has found; written by start
        self.denial = Denial(settings.worker.probe_seconds)  # no work while the account refuses us
        self.queue_denial = Denial(settings.worker.probe_seconds)  # without the queue, overdue jobs are asked for
        self.arrivals_denial = Denial(settings.worker.probe_seconds)
        self.may_have_arrivals = bool(config.arrivals.queue_url)  # until none can be taken; written by arrivals
        self.starts = 0  # that succeeded, as do all that are counted here
        self.gets = 0
        self.hidden_in_a_row = 0  # objects that Rekognition could not get, since a Start succeeded
        self.halted: str | None = None  # why this process claims nothing; written by whoever watches over it
        self.throttled = 0
        self.result_age_seconds = 0.0
        self.backlog = Backlog(settings.aws.reliable_results_seconds)
        self._lease_until = -math.inf

    def adjust(self, config: LaneSettings) -> None:
        """Other quotas, from now on."""
        self.paces[START].limit(config.start_per_second)
        self.paces[GET].limit(config.get_per_second)
        self.slots.set_ceiling(config.concurrent_jobs)

    @property
    def id(self) -> int:
        """The lane's row."""
        return self.owner.lane_id

    def lease_renewed(self, sent_at: float) -> None:
        """Count the lease from before its renewal was sent: the database may have seen it any time after.

        `sent_at` is by `flow.clock`.
        """
        lease_seconds = self.settings.worker.lease_seconds
        self._lease_until = sent_at + lease_seconds * (1 - LEASE_MARGIN)

    @property
    def is_held(self) -> bool:
        """True while this process may decide to call."""
        return now_seconds() < self._lease_until

    @property
    def may_claim(self) -> bool:
        """False while there is a reason to leave the pending videos alone."""
        return self.denial.reason is None and self.halted is None and not self.backlog.is_too_long

    def is_token_good(self, job: Job) -> bool:
        """True while AWS is sure to know a token that may have been used since the job's intent."""
        return now_seconds() - job.intent_at < self.settings.aws.reliable_token_seconds

    def estimate(self, backfill: Backfill, size_bytes: int | None, duration_ms: int | None) -> float:
        """Expected cost of a job in US dollars, with what was learned on this lane."""
        return expected_usd(
            backfill,
            size_bytes=size_bytes,
            duration_ms=duration_ms,
            learned_minutes_per_gb=self.usual_times.minutes_per_gb,
        )

    def due_seconds(self, *, is_replay: bool) -> float:
        """How long to wait for a notice before asking."""
        usual = self.usual_times.run_seconds
        if is_replay:
            return min(SOON_SECONDS, usual or SOON_SECONDS)
        return self.settings.moderation.first_due_seconds if usual is None else usual * PATIENCE + SOON_SECONDS

    def due_again_seconds(self, asked: int) -> float:
        """How long to wait before asking again after a job that is still in progress: doubled each time."""
        usual = self.usual_times.run_seconds or self.settings.moderation.first_due_seconds
        return float(min(max(usual, 1.0) * 2 ** min(asked, 10) / 2, LONGEST_WAIT_SECONDS))

    async def turn(self, operation: str) -> None:
        """Wait until a call of the operation is allowed and due.

        Raises:
            LaneLost: if the lease is over.

        """
        await self.permission(operation)
        await self.paces[operation].wait()

    @asynccontextmanager
    async def call(self, operation: str, job: Job | ReadyJob) -> AsyncIterator[None]:
        """One call for a job whose turn has come: counts the outcome, and adapts to it.

        Raises:
            LaneLost: if the lease is over.
            AwsError: as the call did, after the lane has adapted.

        """
        try:
            with self.traces.span(operation, job.tag, lane=self.name, job=job.id):
                async with self.unpaced_call(operation):
                    yield
        except AwsError as error:
            if error.verdict is Verdict.STOP_LANE:
                self.deny(str(error), operation)
            raise
        self.allow(operation)
        if operation == START:
            self.starts += 1
            self.hidden_in_a_row = 0
        else:
            self.gets += 1

    @asynccontextmanager
    async def unpaced_call(self, operation: str) -> AsyncIterator[None]:
        """One call that has no quota worth pacing (HEAD, the queue); its outcome is counted.

        Raises:
            LaneLost: if the lease is over.

        """
        if not self.is_held:
            raise LaneLost(self.name)
        sent_at = anyio.current_time()
        try:
            with around(operation):
                yield
        except AwsError as error:
            self.metrics.called(self.name, operation, error.code, anyio.current_time() - sent_at)
            self._adapt_to(error, operation, sent_at)
            raise
        self.metrics.called(self.name, operation, "ok", anyio.current_time() - sent_at)
        if pace := self.paces.get(operation):
            pace.succeeded(anyio.current_time())

    async def permission(self, operation: str) -> None:
        """Return at once; while the lane is denied, only for one call in a while of the operation that was refused.

        Raises:
            LaneLost: if the lease is over.

        """
        await self.denial.wait(operation, as_long_as=lambda: self.is_held)
        if not self.is_held:
            raise LaneLost(self.name)

    def deny(self, reason: str, operation: str) -> None:
        """Stop taking work: the account refuses us, and no video is to blame. One call in a while probes."""
        if self.denial.begin(reason, operation):
            log.error("lane denied", lane=self.name, reason=reason, probe_seconds=self.settings.worker.probe_seconds)

    def allow(self, operation: str) -> None:
        """The operation went through: if it was the one that was refused, the lane works again."""
        if self.denial.end(operation):
            log.info("lane works again", lane=self.name)

    def hidden(self, error: AwsError) -> None:
        """S3 shows an object to us that Rekognition cannot get: after a few in a row the account is to blame."""
        self.hidden_in_a_row += 1
        if self.hidden_in_a_row >= STREAK:
            self.deny(f"Rekognition cannot get objects that S3 shows to us ({error}): role or KMS key?", START)

    def oldest_result(self, age_seconds: float) -> None:
        """Take note of the oldest result that waits to be read; AWS forgets it when its life is over."""
        self.result_age_seconds = age_seconds
        life_seconds = self.settings.aws.results_seconds
        if age_seconds > life_seconds * ALARMING:
            log.error(
                "results grow old",
                lane=self.name,
                oldest_days=round(age_seconds / 86_400, 2),
                expires_in_hours=round((life_seconds - age_seconds) / 3600, 2),
            )

    def unread(self, results: int) -> None:
        """Take note of how many results there are to be read: more of them than can be read in time are not bought."""
        per_second = self.paces[GET].per_second
        if self.backlog.look(
            results=results, pages_a_result=self.usual_times.pages or 1.0, pages_per_second=per_second
        ):
            told = {"lane": self.name, "results": results, "days_to_read": round(self.backlog.seconds / 86_400, 2)}
            if self.backlog.is_too_long:
                log.warning("starts held back: results would expire before they are read", **told)
            else:
                log.info("starts go on: results can be read in time", **told)

    @property
    def _why_halted(self) -> str | None:
        if self.backlog.is_too_long:
            days, life_days = self.backlog.seconds / 86_400, self.settings.aws.results_seconds / 86_400
            return f"the results that wait take {days:.1f} days to read at the present rate, and live for {life_days:g}"
        return self.halted

    def _adapt_to(self, error: AwsError, operation: str, sent_at: float) -> None:
        if error.verdict is Verdict.SLOW_DOWN:
            self.throttled += 1
            if pace := self.paces.get(operation):
                pace.throttled(sent_at, anyio.current_time())

    def report(self) -> dict[str, Any]:
        """What the owner says of the lane, for status; refreshes the gauges as well.

        Rates and limits are those of now, `…_quota` those that they come back to, `throttled`, `starts` and `gets`
        counts since the lane was taken, `at` the owner's clock.
        """
        for operation, pace in self.paces.items():
            self.metrics.paced(self.name, operation, pace.per_second)
        self.metrics.slots_used(self.name, limit=self.slots.limit, used=self.slots.used)
        start, get = self.paces[START], self.paces[GET]
        return {
            "at": round(time.time(), 3),
            "concurrent_jobs": self.slots.limit,
            "concurrent_jobs_quota": self.slots.ceiling,
            "slots_used": self.slots.used,
            "start_per_second": round(start.per_second, 3),
            "start_per_second_quota": start.ceiling_per_second,
            "get_per_second": round(get.per_second, 3),
            "get_per_second_quota": get.ceiling_per_second,
            "starts": self.starts,
            "gets": self.gets,
            "throttled": self.throttled,
            "denied": self.denial.reason,
            "halted": self._why_halted,
            "out_of_budget": sorted(self.out_of_budget),
        }

"""Owning a lane: standing by for it, taking it, renewing its lease, and letting it go."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import anyio
import structlog
from msgspec import Struct

from worker.aws.session import Clients, Credentials, open_clients
from worker.config import Settings
from worker.errors import AwsError
from worker.flow.clock import now_seconds
from worker.flow.every import every
from worker.flow.stop import Stop
from worker.lane import Lane, LaneLost
from worker.metrics import Metrics
from worker.store.database import TRANSIENT
from worker.store.jobs import Jobs
from worker.store.leases import Holder, LaneHolder, LaneRow, Leases
from worker.traces import Traces

RENEWALS_A_LEASE = 3
STAND_BY_SECONDS = 1.0
TAKE_SECONDS = 3.0  # that a stop waits for the database's answer; a lane whose answer is lost is taken again
RELEASE_SECONDS = 5.0
CERTAIN = 2  # refusals, of which the first may have been a chance

log = structlog.get_logger()


class LaneState(Struct):
    """What became of one configured lane in this process; written by its `Ownership`, read by whoever watches."""

    name: str
    lane: Lane | None = None  # while this process owns it
    other_owner: str | None = None  # while another process does
    refusal: str | None = None  # why its credentials were refused before it could be taken
    refusals: int = 0

    @property
    def denied(self) -> str | None:
        """AWS's words, once a second try has not gone better."""
        if self.lane is None:
            return self.refusal if self.refusals >= CERTAIN else None
        return self.lane.denial.reason if self.lane.denial.times >= CERTAIN else None

    @property
    def may_have_arrivals(self) -> bool:
        """True until the queue of arrivals was looked into, if that may be done here, and as long as it brings some."""
        if self.denied is not None or self.other_owner is not None:
            return False
        return self.lane is None or self.lane.may_have_arrivals

    def is_out_of_budget(self, backfill: str) -> bool:
        """True when the backfill's last claim on this lane found no money."""
        return self.lane is not None and backfill in self.lane.out_of_budget

    def refuse(self, reason: str, *, for_good: bool = False) -> None:
        """The account could not be opened, and may be yet unless it is for good."""
        self.refusal, self.refusals = reason, CERTAIN if for_good else self.refusals + 1

    def taken(self, lane: Lane) -> None:
        """The lane is owned by this process now."""
        self.lane, self.other_owner, self.refusal, self.refusals = lane, None, None, 0

    def left(self) -> None:
        """The lane is not owned by this process any more."""
        self.lane = None


class Ownership:
    """Keeps one lane of this process, for as long as it can get it, until the stop."""

    def __init__(
        self,
        state: LaneState,
        settings: Settings,
        leases: Leases,
        jobs: Jobs,
        metrics: Metrics,
        stop: Stop,
        holder: Holder,
        traces: Traces,
    ) -> None:
        self._state = state
        self._settings = settings
        self._leases = leases
        self._jobs = jobs
        self._metrics = metrics
        self._stop = stop
        self._holder = holder
        self._traces = traces

    async def keep(
        self, row: LaneRow, credentials: Credentials | None, work: Callable[[Lane], Awaitable[None]]
    ) -> None:
        """Stand by for the lane, work on it, and stand by again if it is lost.

        Raises:
            UsageError: if the lane is pinned to another account.

        """
        structlog.contextvars.bind_contextvars(lane=self._state.name)
        async with AsyncExitStack() as stack:
            clients = await self._open_clients(credentials, stack)
            gc.freeze()  # its clients are thousands of objects that stay: every full collection would walk them all
            while clients and not self._stop.is_requested:
                if lane := await self._take(row, clients):
                    await self._hold(lane, work)

    async def _open_clients(self, credentials: Credentials | None, stack: AsyncExitStack) -> Clients | None:
        """The lane's clients, tried until the credentials are accepted; None once the stop is requested."""
        clients = None
        with self._stop.taking():
            while clients is None:
                try:
                    opened = open_clients(self._settings.lanes[self._state.name], credentials)
                    clients = await stack.enter_async_context(opened)
                except AwsError as error:
                    self._state.refuse(str(error))
                    log.warning("lane denied", reason=str(error), probe_seconds=self._settings.worker.probe_seconds)
                    await anyio.sleep(self._settings.worker.probe_seconds)
        return clients

    async def _take(self, row: LaneRow, clients: Clients) -> Lane | None:
        """Wait until the lane is free and take it; None once the stop is requested."""
        lane = None
        lease_seconds = self._settings.worker.lease_seconds
        with self._stop.taking():
            while lane is None:
                sent_at = now_seconds()
                with anyio.move_on_after(TAKE_SECONDS, shield=True):
                    owner = await self._leases.acquire(row.id, self._holder, lease_seconds, clients.account_id)
                    if owner:
                        lane = await self._prepared(owner, clients, sent_at)
                if lane is None:
                    self._stand_by(await self._leases.owner_of(row.id))
                    await anyio.sleep(min(STAND_BY_SECONDS, lease_seconds / RENEWALS_A_LEASE))
        return lane

    def _stand_by(self, other: str | None) -> None:
        if other is not None and other != self._state.other_owner:
            log.info("standing by: the lane is owned by another process", owner=other)
        self._state.other_owner = other

    async def _prepared(self, owner: LaneHolder, clients: Clients, sent_at: float) -> Lane:
        name = self._state.name
        config = self._settings.lanes[name]
        channels = await self._leases.channels(owner.lane_id, config.sns_topic_arn, config.publish_role_arn)
        usual_times = await self._jobs.usual_times(owner.lane_id)
        lane = Lane(name, self._settings, owner, channels, clients, self._metrics, usual_times, self._traces)
        lane.slots.adopt(await self._jobs.running(owner.lane_id))
        lane.lease_renewed(sent_at)
        return lane

    async def _hold(self, lane: Lane, work: Callable[[Lane], Awaitable[None]]) -> None:
        """Work while the lease lasts; give the lane back at the end."""
        epoch = lane.owner.epoch
        log.info("lane taken", epoch=epoch)
        self._state.taken(lane)
        self._metrics.owns(lane.name, epoch)
        try:
            async with anyio.create_task_group() as lease:
                lease.start_soon(self._renew, lane)
                await work(lane)
                lease.cancel_scope.cancel()
        except BaseExceptionGroup as ends:
            _raise_others(ends)
            log.warning("lane lost", epoch=epoch)
        finally:
            self._state.left()
            self._metrics.leaves(lane.name)
            with anyio.move_on_after(RELEASE_SECONDS, shield=True), suppress(*TRANSIENT):
                await self._leases.release(lane.owner)

    async def _renew(self, lane: Lane) -> None:
        """Renew the lease on a connection of its own.

        Raises:
            LaneLost: when somebody else has the lane, or it could not be renewed in time.

        """
        lease_seconds = self._settings.worker.lease_seconds
        async with self._leases.connection() as connection:

            async def renew() -> None:
                sent_at = now_seconds()
                renewed = await connection.renew(
                    lane.owner, lease_seconds, lane.report(), within_seconds=lease_seconds / RENEWALS_A_LEASE
                )
                if renewed:
                    lane.lease_renewed(sent_at)
                elif renewed is False or not lane.is_held:
                    raise LaneLost(lane.name)

            await every(lease_seconds / RENEWALS_A_LEASE, renew)


def _raise_others(ends: BaseExceptionGroup[BaseException]) -> None:
    """Raise what else there is than a lost lane: a stage that hears of it first may break the streams of the others."""
    if ends.subgroup(LaneLost) is None:
        raise ends
    _, others = ends.split((LaneLost, anyio.BrokenResourceError))
    if others is not None:
        raise others

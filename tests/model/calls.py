"""What is asked of the database, each call one transaction: the store's own methods, and time passing.

A call is a record, so that the explorer can tell whether it has asked the same thing of the same contents before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from tests.store.steps import ACCOUNT, price
from worker.flow.clock import now_seconds
from worker.model import Backfill, Failure, Job, Notice, Page, ReadyJob, Video
from worker.store.claims import Claims, Intent, Verdicted
from worker.store.database import SQL, Database
from worker.store.jobs import Jobs, Started
from worker.store.leases import Holder, LaneHolder, Leases
from worker.store.pages import Pages

LONG_SECONDS = 1e7  # longer than any exploration: what is to run out in one is made to
LEASE_SECONDS = 240.0  # a lease of more than five minutes is taken for a mistake of the clock
OLD, YOUNG = -1.0, 0.0  # instead of the time of an intent: whether AWS may have forgotten its token
MANY = 100


class Store:
    """The store's classes, as the program uses them, and the prices that a scope sets."""

    def __init__(self, database: Database, *, claim_usd: float, intent_usd: float) -> None:
        self.database = database
        self.leases = Leases(database)
        self.claims = Claims(database)
        self.jobs = Jobs(database)
        self.pages = Pages(database)
        self.claim_estimate = price(claim_usd)
        self.intent_estimate = price(intent_usd)

    async def execute(self, sql: str, *arguments: object) -> None:
        """What no owner does: time passes in the database."""
        await self.database.pool.execute(sql, *arguments)


class Call(Struct, frozen=True):
    """One transaction on the database."""

    changes_nothing: ClassVar[bool] = False

    async def of(self, store: Store) -> Any:
        """Make the call; gives its answer in hashable records without ages, which would tell equal states apart."""
        raise NotImplementedError


class Acquire(Call, frozen=True):
    """Take the lane."""

    lane_id: int
    holder: Holder

    async def of(self, store: Store) -> LaneHolder | None:
        return await store.leases.acquire(self.lane_id, self.holder, LEASE_SECONDS, ACCOUNT)


class Renew(Call, frozen=True):
    """Renew the lease. The program does so on a connection of its own."""

    owner: LaneHolder

    async def of(self, store: Store) -> bool:
        owner = self.owner
        arguments = (owner.lane_id, owner.holder, owner.epoch, LEASE_SECONDS, "{}")
        return bool(await store.database.pool.fetchval(SQL["renew_lane_if_held"], *arguments))


class Release(Call, frozen=True):
    """Give the lease back."""

    owner: LaneHolder

    async def of(self, store: Store) -> None:
        await store.leases.release(self.owner)


class Inherit(Call, frozen=True):
    """Find the intents that an earlier owner left."""

    changes_nothing = True
    lane_id: int

    async def of(self, store: Store) -> tuple[Job, ...]:
        return _without_ages(await store.jobs.intents(self.lane_id))


class Recover(Call, frozen=True):
    """Return claims that are in nobody's hand."""

    owner: LaneHolder
    in_hand: tuple[int, ...]

    async def of(self, store: Store) -> int:
        return await store.claims.recover(self.owner, self.in_hand)


class Claim(Call, frozen=True):
    """Take pending videos; `in_doubt` are those of an earlier try whose answer was lost."""

    owner: LaneHolder
    backfill: Backfill
    limit: int
    in_doubt: tuple[int, ...]

    async def of(self, store: Store) -> tuple[Video, ...]:
        claimed = await store.claims._claim(
            self.owner, self.backfill, 0, self.limit, store.claim_estimate, list(self.in_doubt)
        )
        return tuple(claimed.videos)


class CommitIntents(Call, frozen=True):
    """Commit the intents of claimed videos."""

    owner: LaneHolder
    channel_id: int
    intents: tuple[Intent, ...]

    async def of(self, store: Store) -> tuple[Job, ...]:
        backfill = self.intents[0].video.backfill
        committed = await store.claims.commit_intents(
            self.owner, backfill, self.channel_id, self.intents, store.intent_estimate
        )
        return _without_ages(committed.jobs)


class Refuse(Call, frozen=True):
    """Settle claimed videos that HEAD refuses."""

    video_ids: tuple[int, ...]

    async def of(self, store: Store) -> None:
        await store.claims.settle([Verdicted(video_id, "skipped", "gone") for video_id in self.video_ids])


class GiveBack(Call, frozen=True):
    """Return claimed videos that were not worked on."""

    owner: LaneHolder
    video_ids: tuple[int, ...]

    async def of(self, store: Store) -> None:
        await store.claims.give_back(self.owner, self.video_ids)


class Confirm(Call, frozen=True):
    """Record a JobId."""

    started: Started

    async def of(self, store: Store) -> None:
        await store.jobs.confirm([self.started])


class MarkFinished(Call, frozen=True):
    """Hear a notice."""

    lane_id: int
    aws_job_id: str

    async def of(self, store: Store) -> None:
        await store.jobs.mark_finished(self.lane_id, [Notice(self.aws_job_id, "receipt", 1)])


class MarkOverdue(Call, frozen=True):
    """The due time of one job passes, and is noticed."""

    lane_id: int
    job_id: int

    async def of(self, store: Store) -> None:
        await store.execute("update job set due_at = '-infinity' where id = $1 and state = 'running'", self.job_id)
        await store.jobs.mark_overdue(self.lane_id, MANY)


class TakeReady(Call, frozen=True):
    """Take the jobs whose pages wait."""

    changes_nothing = True
    lane_id: int
    in_hand: tuple[int, ...]

    async def of(self, store: Store) -> tuple[ReadyJob, ...]:
        ready = await store.jobs.ready(self.lane_id, in_hand=self.in_hand, limit=MANY, page_token_seconds=LONG_SECONDS)
        return tuple(replace(job, started_at=0.0, asked=0) for job in sorted(ready, key=lambda job: job.id))


class WaitLonger(Call, frozen=True):
    """Put a job back that is still in progress."""

    job_id: int

    async def of(self, store: Store) -> None:
        await store.jobs.wait_longer(self.job_id, LONG_SECONDS)


class Fail(Call, frozen=True):
    """End a job without labels."""

    failure: Failure

    @property
    def job_id(self) -> int:
        return self.failure.job_id

    async def of(self, store: Store) -> None:
        await store.jobs.fail(self.failure)


class DropPages(Call, frozen=True):
    """Forget what was read of a job."""

    job_id: int

    async def of(self, store: Store) -> None:
        await store.jobs.drop_pages(self.job_id)


class WritePages(Call, frozen=True):
    """Write a group of pages."""

    pages: tuple[Page, ...]

    async def of(self, store: Store) -> tuple[int, ...]:
        """Give the jobs that are out of hand: settled, or written by somebody else."""
        written = await store.pages.write(self.pages)
        return (*written.settled, *written.refused)


class ExpireLease(Call, frozen=True):
    """The lease's time passes."""

    lane_id: int

    async def of(self, store: Store) -> None:
        await store.execute("update lane set expires_at = '-infinity' where id = $1", self.lane_id)


class PassAWeek(Call, frozen=True):
    """Everything is a week older, and every lease has run out."""

    lane_id: int

    async def of(self, store: Store) -> None:
        await store.execute("update lane set expires_at = '-infinity' where id = $1", self.lane_id)
        await store.execute(
            "update job set intent_at = intent_at - interval '1 year', started_at = started_at - interval '1 year'"
        )


def _without_ages(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Jobs as an owner remembers them, their intents either YOUNG or OLD.

    A replay differs from a first start by its due time only, which the explorer lets pass whenever it likes.
    """
    limit = now_seconds() - LONG_SECONDS
    return tuple(
        replace(job, intent_at=OLD if job.intent_at < limit else YOUNG, is_replay=False)
        for job in sorted(jobs, key=lambda job: job.id)
    )

"""What can happen next: every step that an owner, AWS or time can take from a state of the world.

The protocol, as its owners follow it:

    acquire the lane - inherit the intents of the earlier owner - recover claims that nobody has in hand
    claim - HEAD - commit the intents - Start - confirm the JobId
    notice, or due time - take ready jobs - Get, page by page - write in groups, settle - or fail, or wait longer

An owner's memory is what it has in hand. Each store call is one step, and takes out of the hand what it is done with;
a call to AWS is another, and puts its answer into the hand. Between any two steps the other owner may act, too, and
what AWS says to one may be acted upon much later.

Steps that are faults carry the name of the fault. Notices need no queue: what SQS may do to them (lose, double,
reorder, delay) comes to this, that a notice of a finished job may arrive at any time, any number of times, or never.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tests.model.aws import Aws, AwsJob
from tests.model.books import Contents
from tests.model.calls import (
    OLD,
    Acquire,
    Call,
    Claim,
    CommitIntents,
    Confirm,
    DropPages,
    ExpireLease,
    Fail,
    GiveBack,
    Inherit,
    MarkFinished,
    MarkOverdue,
    PassAWeek,
    Recover,
    Refuse,
    Release,
    Renew,
    TakeReady,
    WaitLonger,
    WritePages,
)
from tests.model.scopes import Fault, Scope
from tests.store.steps import intent_for
from worker.errors import AwsError, Verdict
from worker.model import Backfill, Failure, Job, Page, ReadyJob, Video
from worker.pipeline.fetch import _Cursor
from worker.store.jobs import Started
from worker.store.leases import Holder, LaneHolder

Finding = WaitLonger | Fail | DropPages


class Cursor(Struct, frozen=True):
    """Where the reading of a job stands."""

    job: ReadyJob
    number: int
    digest: bytes
    next_token: str | None
    restarts_left: int


class Owner(Struct, frozen=True):
    """A process and what it has in hand; after a crash it is another process of the same name."""

    name: str
    incarnation: int = 0
    lease: LaneHolder | None = None  # what it believes to hold
    has_inherited: bool = False
    claimed: tuple[Video, ...] = ()  # without an intent yet
    in_doubt: tuple[int, tuple[int, ...]] | None = None  # of a claim whose answer was lost: the backfill, what it took
    is_repeating: bool = False  # the commit of intents, until there is an answer
    to_start: tuple[Job, ...] = ()  # with a committed intent
    answered: tuple[Started, ...] = ()  # with a JobId that is not recorded yet
    reading: tuple[Cursor, ...] = ()
    in_hand: tuple[int, ...] = ()  # jobs that are read or written, and not to be taken again
    pages: tuple[Page, ...] = ()  # read and not written yet
    findings: tuple[Finding, ...] = ()  # what else a Get told, and has to be recorded

    @property
    def holder(self) -> Holder:
        """The id of the running process."""
        return Holder(uuid.UUID(int=ord(self.name) * 1000 + self.incarnation), self.name)

    @property
    def forgetful(self) -> Owner:
        """The owner without anything in hand."""
        return Owner(self.name, self.incarnation)


class World(Struct, frozen=True):
    """The whole state: the number of the database's contents, AWS, and what both owners remember."""

    contents: int
    aws: Aws
    owners: tuple[Owner, Owner]

    def with_owner(self, owner: Owner) -> World:
        """The world with one owner changed."""
        first, second = self.owners
        return replace(self, owners=(owner, second) if owner.name == first.name else (first, owner))


class Step(Struct, frozen=True):
    """Something that can happen: to `world`, after `call` to the database if there is one.

    `then` puts the call's answer into the owner's hand. `unheard` tells what the owner is if the answer to the commit
    is lost, most often what it was: it makes the call again. None for calls that nobody repeats.
    """

    told: str
    world: World
    call: Call | None = None
    then: Callable[[World, Any], World] = lambda world, _: world
    fault: Fault | None = None
    unheard: Callable[[Any], Owner] | None = None


class Protocol:
    """The steps that are possible, in one lane with these backfills."""

    def __init__(self, scope: Scope, lane_id: int, channel_id: int, backfills: list[Backfill]) -> None:
        self._scope = scope
        self._lane_id = lane_id
        self._channel_id = channel_id
        self._backfills = backfills

    def steps(self, world: World, contents: Contents) -> Iterator[Step]:
        """Everything that can happen next, the faults among it."""
        yield from self._of_aws(world)
        yield from self._of_notices(world, contents)
        yield from self._of_time(world, contents)
        for owner in world.owners:
            if owner.lease is None:
                yield from self._to_own(world, owner)
            else:
                yield from self._of_the_lease(world, owner, contents)
                is_over = not (contents.lane["is_held"] and holds(owner, contents))
                if not (is_over and self._scope.has_true_clock):
                    yield from self._to_claim(world, owner)
                    yield Step(
                        f"{owner.name} takes ready jobs",
                        world,
                        TakeReady(self._lane_id, owner.in_hand),
                        _reading_of(owner),
                    )
                yield from self._to_start(world, owner)
                yield from self._to_read(world, owner)
                yield from self._to_write(world, owner)

    def _of_aws(self, world: World) -> Iterator[Step]:
        """Jobs end; page tokens expire."""
        for job in world.aws.jobs:
            name = _aws_name(job)
            if job.is_over:
                continue
            if job.status == "IN_PROGRESS":
                yield Step(f"AWS finishes {name}", replace(world, aws=world.aws.ends(job, "SUCCEEDED")))
                failed = replace(world, aws=world.aws.ends(job, "FAILED"))
                yield Step(f"AWS fails {name}", failed, fault="failed")
            elif job.status == "SUCCEEDED":
                expired = replace(world, aws=world.aws.expires_page_tokens(job, rearranged=False))
                yield Step(f"the page tokens of {name} expire", expired, fault="page_tokens")
                rearranged = replace(world, aws=world.aws.expires_page_tokens(job, rearranged=True))
                yield Step(f"the page tokens of {name} expire, its labels are told in another order from now on",
                           rearranged, fault="rearranged")  # fmt: skip

    def _of_notices(self, world: World, contents: Contents) -> Iterator[Step]:
        """Jobs become ready: by a notice once AWS has finished them, by their due time whenever it comes."""
        for job in world.aws.jobs:
            if self._scope.has_notices and job.status != "IN_PROGRESS":
                call = MarkFinished(self._lane_id, job.id)
                yield Step(f"the notice of {_aws_name(job)} arrives", world, call)
        for job in contents.jobs:
            if job["state"] == "running":
                yield Step(f"job {job['id']} is overdue", world, MarkOverdue(self._lane_id, job["id"]))

    def _of_time(self, world: World, contents: Contents) -> Iterator[Step]:
        """Leases run out; a backup is restored; a week passes."""
        if contents.lane["is_held"]:
            is_alive = any(holds(owner, contents) for owner in world.owners)
            call = ExpireLease(self._lane_id)
            if is_alive:
                yield Step("the owner stands still until its lease is over", world, call, fault="pause")
            else:
                yield Step("the lease of the process that crashed is over", world, call)
        yield Step("the database is restored as it was at the beginning", replace(world, contents=0), fault="restore")
        first, second = (_with_old_intents(owner) for owner in world.owners)
        later = replace(world, aws=world.aws.forgets(), owners=(first, second))
        yield Step("everything stands still for a week", later, PassAWeek(self._lane_id), fault="week")

    def _to_own(self, world: World, owner: Owner) -> Iterator[Step]:
        """Stand by for the lane."""

        def take(after: World, lease: LaneHolder | None) -> World:
            return after.with_owner(replace(owner, lease=lease))

        call = Acquire(self._lane_id, owner.holder)
        yield Step(f"{owner.name} tries to take the lane", world, call, take, unheard=_as_before(owner))

    def _of_the_lease(self, world: World, owner: Owner, contents: Contents) -> Iterator[Step]:
        """Take over what an earlier owner left; renew, lose or give back the lease; crash."""
        name, lease = owner.name, owner.lease
        if not owner.has_inherited:
            yield Step(f"{name} inherits the intents", world, Inherit(self._lane_id), _inherited_by(owner))
        claimed = tuple(video.id for video in owner.claimed)
        if owner.in_doubt is None:
            yield Step(f"{name} returns claims that are in no hand", world, Recover(lease, claimed))
        if not holds(owner, contents):
            yield Step(f"{name} learns that it lost the lane", world.with_owner(owner.forgetful))
        elif not contents.lane["is_held"]:
            yield Step(f"{name} renews its lease late", world, Renew(lease))
        stopped = world.with_owner(owner.forgetful)
        yield Step(f"{name} is stopped and gives the lane back", stopped, Release(lease), fault="stop")
        yield Step(f"{name} crashes", world.with_owner(_reborn(owner)), fault="crash")

    def _to_claim(self, world: World, owner: Owner) -> Iterator[Step]:
        """Claim, HEAD, commit the intents."""
        name, lease, claimed = owner.name, owner.lease, owner.claimed
        if not claimed and owner.has_inherited:
            for backfill in self._backfills:
                if owner.in_doubt is None or owner.in_doubt[0] == backfill.id:
                    yield self._claim(world, owner, backfill)
        if claimed:
            intents = tuple(intent_for(video) for video in claimed)
            call = CommitIntents(lease, self._channel_id, intents)
            repeating = replace(owner, is_repeating=True)
            yield Step(f"{name} commits the intents of {_keys(claimed)}", world, call, _intents_in_hand_of(owner),
                       unheard=_as_before(repeating))  # fmt: skip
        if claimed and not owner.is_repeating:
            ids = tuple(video.id for video in claimed)
            out_of_hand = world.with_owner(replace(owner, claimed=()))
            yield Step(f"{name} gives {_keys(claimed)} back", out_of_hand, GiveBack(lease, ids), fault="stop")
            yield Step(f"{name} finds {_keys(claimed)} gone", out_of_hand, Refuse(ids), fault="gone")

    def _claim(self, world: World, owner: Owner, backfill: Backfill) -> Step:
        """A claim; what an earlier try may have taken is put back by it, and taken again."""
        taken_before = owner.in_doubt[1] if owner.in_doubt else ()
        call = Claim(owner.lease, backfill, self._scope.claim_limit, taken_before)

        def in_doubt(videos: tuple[Video, ...]) -> Owner:
            return replace(owner, in_doubt=(backfill.id, tuple(video.id for video in videos)))

        told = f"{owner.name} claims from {backfill.name}"
        return Step(told, world, call, _claims_in_hand_of(owner), unheard=in_doubt)

    def _to_start(self, world: World, owner: Owner) -> Iterator[Step]:
        """Start and confirm. A Start that never reaches AWS changes nothing, and is tried again."""
        name = owner.name
        for job in owner.to_start:
            if job.intent_at == OLD:
                failure = Failure(job.id, "uncertain", "too old to be replayed", "uncertain")
                given_up = replace(owner, to_start=_without(owner.to_start, job))
                yield Step(f"{name} leaves {_name(job)} uncertain", world.with_owner(_finds(given_up, Fail(failure))))
                continue
            aws_job_id, aws = world.aws.start(job)
            executed = replace(world, aws=aws)
            started = Started(job, aws_job_id, 1e7)
            answered = replace(
                owner, to_start=_without(owner.to_start, job), answered=_with(owner.answered, started, _job_of_started)
            )
            yield Step(f"{name} starts {_name(job)}", executed.with_owner(answered))
            yield Step(f"{name} starts {_name(job)}, the answer is lost", executed, fault="lost_answer")
        for started in owner.answered:
            out_of_hand = replace(owner, answered=_without(owner.answered, started))
            yield Step(f"{name} confirms {_name(started.job)}", world, Confirm(started), _is_now(out_of_hand),
                       unheard=_as_before(owner))  # fmt: skip

    def _to_read(self, world: World, owner: Owner) -> Iterator[Step]:
        """Take ready jobs, get their pages, act upon what else a Get told."""
        name = owner.name
        for cursor in owner.reading:
            yield Step(f"{name} gets page {cursor.number} of job {cursor.job.id}",
                       world.with_owner(self._after_get(world.aws, owner, cursor)))  # fmt: skip
        for finding in owner.findings:
            out_of_hand = replace(
                owner,
                findings=_without(owner.findings, finding),
                in_hand=_without(owner.in_hand, finding.job_id),
            )
            yield Step(f"{name} records {type(finding).__name__} of job {finding.job_id}", world, finding,
                       _is_now(out_of_hand), unheard=_as_before(owner))  # fmt: skip

    def _after_get(self, aws: Aws, owner: Owner, cursor: Cursor) -> Owner:
        """What one GetContentModeration puts into the owner's hand, by the program's own rules of reading."""
        reader = _reader_at(cursor)
        job_id = cursor.job.id
        closed = replace(owner, reading=_without(owner.reading, cursor))
        try:
            answer = aws.get(cursor.job.aws_job_id, cursor.next_token, minutes=self._scope.true_minutes)
        except AwsError as error:
            if error.verdict is Verdict.RESTART_READ and reader.may_restart:
                reader.restart()
                return replace(closed, reading=_with(closed.reading, _cursor_of(cursor.job, reader), _job_of_cursor))
            state = "expired" if error.verdict is Verdict.RESULTS_GONE else "failed"
            return _finds(closed, Fail(Failure(job_id, state, "unreadable", state)))
        if answer.job_status == "IN_PROGRESS":
            return _finds(closed, WaitLonger(job_id))
        if answer.job_status == "FAILED":
            failure = Failure(job_id, "failed", "job failed", "failed", worth_another=True, at_aws=True)
            return _finds(closed, Fail(failure))
        page = reader.advance(answer)
        after = closed
        if page:
            page = replace(page, detections=tuple(page.detections), metadata=None)
            # Sorted by their jobs, and for each as they were read: to the group it makes no difference.
            after = replace(after, pages=tuple(sorted((*after.pages, page), key=_job_of_page)))
        if reader.disagrees:
            return _finds(after, DropPages(job_id))
        if not reader.is_at_end:
            after = replace(after, reading=_with(after.reading, _cursor_of(cursor.job, reader), _job_of_cursor))
        return after

    def _to_write(self, world: World, owner: Owner) -> Iterator[Step]:
        """Write what is in hand as one group."""
        if owner.pages:
            told = ", ".join(f"page {page.number} of job {page.job_id}" for page in owner.pages)
            yield Step(f"{owner.name} writes {told}", world, WritePages(owner.pages), _written_by(owner),
                       unheard=_as_before(owner))  # fmt: skip


def holds(owner: Owner, contents: Contents) -> bool:
    """True if the database, too, says that the owner holds the lane, be the lease over or not."""
    lane, lease = contents.lane, owner.lease
    return lease is not None and (lease.holder, lease.epoch) == (lane["holder"], lane["epoch"])


def _reborn(owner: Owner) -> Owner:
    """A new process in the place of one that crashed."""
    return Owner(owner.name, owner.incarnation + 1)


def _with_old_intents(owner: Owner) -> Owner:
    return replace(owner, to_start=tuple(replace(job, intent_at=OLD) for job in owner.to_start))


def _is_now(owner: Owner) -> Callable[[World, Any], World]:
    return lambda world, _: world.with_owner(owner)


def _as_before(owner: Owner) -> Callable[[Any], Owner]:
    return lambda _: owner


def _inherited_by(owner: Owner) -> Callable[[World, tuple[Job, ...]], World]:
    return lambda world, jobs: world.with_owner(replace(owner, has_inherited=True, to_start=jobs))


def _claims_in_hand_of(owner: Owner) -> Callable[[World, tuple[Video, ...]], World]:
    return lambda world, videos: world.with_owner(replace(owner, claimed=videos, in_doubt=None))


def _intents_in_hand_of(owner: Owner) -> Callable[[World, tuple[Job, ...]], World]:
    def take(world: World, jobs: tuple[Job, ...]) -> World:
        to_start = owner.to_start
        for job in jobs:
            to_start = _with(to_start, job, _id_of)
        return world.with_owner(replace(owner, claimed=(), is_repeating=False, to_start=to_start))

    return take


def _reading_of(owner: Owner) -> Callable[[World, tuple[ReadyJob, ...]], World]:
    def take(world: World, jobs: tuple[ReadyJob, ...]) -> World:
        reading, in_hand = owner.reading, owner.in_hand
        for job in jobs:
            reading = _with(reading, _cursor_of(job, _Cursor(job)), _job_of_cursor)
            in_hand = tuple(sorted({*in_hand, job.id}))
        return world.with_owner(replace(owner, reading=reading, in_hand=in_hand))

    return take


def _written_by(owner: Owner) -> Callable[[World, tuple[int, ...]], World]:
    """Jobs that are settled, or written by somebody else, are out of hand: these may be taken again, and read twice."""

    def lay_down(world: World, job_ids: tuple[int, ...]) -> World:
        in_hand = tuple(job_id for job_id in owner.in_hand if job_id not in job_ids)
        return world.with_owner(replace(owner, pages=(), in_hand=in_hand))

    return lay_down


def _finds(owner: Owner, finding: Finding) -> Owner:
    return replace(owner, findings=_with(owner.findings, finding, _job_of_finding))


def _reader_at(cursor: Cursor) -> _Cursor:
    reader = _Cursor(cursor.job)
    reader.number, reader.next_token = cursor.number, cursor.next_token
    reader._digest, reader._restarts_left = cursor.digest, cursor.restarts_left
    return reader


def _cursor_of(job: ReadyJob, reader: _Cursor) -> Cursor:
    return Cursor(job, reader.number, reader._digest, reader.next_token, reader._restarts_left)


def _with(items: tuple[Any, ...], item: Any, key: Callable[[Any], int]) -> tuple[Any, ...]:
    """The items and one more, in the order of their jobs; one that is there is not added again."""
    return items if item in items else tuple(sorted((*items, item), key=key))


def _without(items: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    return tuple(other for other in items if other != item)


def _id_of(job: Job) -> int:
    return job.id


def _job_of_started(started: Started) -> int:
    return started.job.id


def _job_of_cursor(cursor: Cursor) -> int:
    return cursor.job.id


def _job_of_page(page: Page) -> int:
    return page.job_id


def _job_of_finding(finding: Finding) -> int:
    return finding.job_id


def _keys(videos: tuple[Video, ...]) -> str:
    return " and ".join(video.object.key for video in videos)


def _name(job: Job) -> str:
    return f"job {job.id} ({job.key})"


def _aws_name(job: AwsJob) -> str:
    return f"{job.id} ({job.object[1]})"

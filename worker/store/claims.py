"""From pending videos to committed intents: the decisions that spend money, each guarded by the lane's lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import accumulate, takewhile

import asyncpg
from msgspec import Struct

from worker.model import Backfill, Job, Object, ResolvedObject, Video, VideoState, tag_of, token_of
from worker.store.database import SQL, Connection, Database, patient, storable
from worker.store.jobs import as_job
from worker.store.leases import LaneHolder
from worker.store.registry import as_backfill

Estimate = Callable[[Backfill, int | None, int | None], float]
"""(backfill, size in bytes, duration in ms) -> expected US dollars."""

ZERO = Decimal(0)
MICRODOLLAR = Decimal("0.000001")  # what the columns of money keep
CUSHION = Decimal("0.0625")  # of what is left of a budget: allowed at a top-up beyond what is wanted just then


class Claimed(Struct, frozen=True):
    """What a claim brought: `position` is where the next claim of this backfill begins."""

    videos: list[Video]
    position: int
    is_out_of_budget: bool


class Intent(Struct, frozen=True):
    """A claimed video together with the object that HEAD found for it, about to be bought."""

    video: Video
    object: ResolvedObject
    identity: bytes


class Committed(Struct, frozen=True):
    """Jobs to start; videos that were attached to jobs which are there already need nothing more."""

    jobs: list[Job]
    returned: list[int]


class Verdicted(Struct, frozen=True):
    """A claimed video that needs no job to be judged."""

    video_id: int
    state: VideoState
    reason: str


class Claims:
    """Claims, intents, and what is undone of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def claimable(self, lane_id: int) -> list[Backfill]:
        """Backfills with pending videos for the lane, the most urgent first."""
        return [as_backfill(row) for row in await self._database.pool.fetch(SQL["claimable_backfills"], lane_id)]

    @patient
    async def take_slab(self, owner: LaneHolder, *, least: int, most: int) -> int:
        """Take over half of the longest queue of the region, if it has so many videos; returns how many came."""
        async with self._database.transaction("take_slab") as connection:
            queue = await connection.fetchrow(SQL["longest_queue"], owner.lane_id, least)
            if queue is None:
                return 0
            lanes = queue["backfill_id"], owner.lane_id, queue["lane_id"]
            await connection.execute(SQL["add_tally"], queue["backfill_id"], owner.lane_id)
            if not await connection.fetch(SQL["lock_tallies_if_owner"], *lanes, owner.holder, owner.epoch):
                return 0
            return int(await connection.fetchval(SQL["move_pending"], *lanes, min(most, queue["pending"] // 2)))

    async def claim(
        self, owner: LaneHolder, backfill: Backfill, *, after: int, limit: int, estimate: Estimate
    ) -> Claimed:
        """Take pending videos, in order, as far as the budget reaches; none for a process that lost the lane."""
        return await self._claim(owner, backfill, after, limit, estimate, [])

    @patient
    async def _claim(
        self, owner: LaneHolder, backfill: Backfill, after: int, limit: int, estimate: Estimate, in_doubt: list[int]
    ) -> Claimed:
        """`in_doubt` names what an earlier try took, whose answer was lost: it is put back, and taken again."""
        async with self._database.transaction("claim") as connection:
            tally = await _lock_tally(connection, owner, backfill)
            if tally is None:
                return Claimed([], after, is_out_of_budget=False)
            put_back = _returning(owner, in_doubt, [], 1)
            if in_doubt and await connection.fetchval(SQL["return_claimed_if_jobless"], *put_back):
                tally = await _lock_tally(connection, owner, backfill) or tally
            rows = _company(await connection.fetch(SQL["pick_pending"], owner.lane_id, backfill.id, after, limit))
            expected = [_usd(estimate(backfill, row["size_bytes"], row["duration_ms"])) for row in rows]
            affordable = await _affordable(connection, owner, backfill, tally, expected)
            taken = list(zip(rows, expected, strict=True))[:affordable]
            in_doubt[:] = [row["id"] for row, _ in taken]
            await connection.execute(
                SQL["take_picked"], in_doubt, [usd for _, usd in taken], backfill.id, owner.lane_id
            )
        videos = [_video(row, backfill, usd) for row, usd in taken]
        position = taken[-1][0]["claim_order"] if taken else after
        return Claimed(videos, position, is_out_of_budget=affordable < len(rows))

    @patient
    async def commit_intents(
        self, owner: LaneHolder, backfill: Backfill, channel_id: int, intents: Sequence[Intent], estimate: Estimate
    ) -> Committed:
        """Commit the intent to buy each job, or attach its video to the job that is there already.

        Videos that HEAD made dearer than the budget allows go back to pending; `returned` names them. After a commit
        whose answer was lost, the jobs that it brought are told again. Nothing is done without the lane.
        """
        by_id = {intent.video.id: intent for intent in intents}
        async with self._database.transaction("commit_intents") as connection:
            await _lock_jobs_of(connection, intents)
            tally = await _lock_tally(connection, owner, backfill)
            if tally is None:
                return Committed([], [])
            held = {row["id"]: row["reserved_usd"] for row in await connection.fetch(SQL["lock_claimed"], list(by_id))}
            wanted = [by_id[video_id] for video_id in held]
            expected = [_usd(estimate(backfill, i.object.size_bytes, i.video.object.duration_ms)) for i in wanted]
            released = sum(held.values(), ZERO)
            affordable = await _affordable(connection, owner, backfill, tally, expected, released)
            bought, returned = wanted[:affordable], [intent.video.id for intent in wanted[affordable:]]
            await _insert_intents(connection, owner, backfill, channel_id, bought, expected[:affordable])
            await _attach(connection, bought)
            if returned:
                await connection.execute(SQL["return_claimed_if_jobless"], *_returning(owner, returned, [], 1))
            rows = await connection.fetch(SQL["intents_of_videos"], list(by_id))
        return Committed([as_job(row, is_replay=False) for row in rows], returned)

    @patient
    async def settle(self, verdicts: Sequence[Verdicted]) -> None:
        """Bring claimed videos without a job to their end."""
        async with self._database.transaction("settle") as connection:
            await connection.execute(
                SQL["settle_claimed_if_jobless"],
                [verdict.video_id for verdict in verdicts],
                [verdict.state for verdict in verdicts],
                [storable(verdict.reason) for verdict in verdicts],
            )

    @patient
    async def give_back(self, owner: LaneHolder, video_ids: Sequence[int]) -> None:
        """Return videos that were taken up but not worked on."""
        await self._database.commit("return_claimed_if_jobless", *_returning(owner, video_ids, [], 1))

    @patient
    async def recover(self, owner: LaneHolder, in_hand: Sequence[int]) -> int:
        """Return claimed videos without a job that nobody has in hand; their claim counts against them."""
        ((returned,),) = await self._database.commit("return_claimed_if_jobless", *_returning(owner, None, in_hand, 0))
        return int(returned)


def _company(rows: Sequence[asyncpg.Record]) -> Sequence[asyncpg.Record]:
    """Those that are taken up together: one that was taken up in vain goes alone, lest the innocent be suspected."""
    if rows and rows[0]["claims"]:
        return rows[:1]
    return list(takewhile(lambda row: not row["claims"], rows))


def _returning(
    owner: LaneHolder, video_ids: Sequence[int] | None, in_hand: Sequence[int], uncounted: int
) -> tuple[object, ...]:
    """Arguments of the statement: None for all videos that are not in hand; `uncounted` claims are taken off each."""
    named = None if video_ids is None else list(video_ids)
    return owner.lane_id, named, list(in_hand), uncounted, owner.holder, owner.epoch


async def _lock_tally(connection: Connection, owner: LaneHolder, backfill: Backfill) -> asyncpg.Record | None:
    return await connection.fetchrow(SQL["lock_tally_if_owner"], backfill.id, owner.lane_id, owner.holder, owner.epoch)


async def _affordable(
    connection: Connection,
    owner: LaneHolder,
    backfill: Backfill,
    tally: asyncpg.Record,
    expected: Sequence[Decimal],
    released: Decimal = ZERO,
) -> int:
    """How many of the expected costs, from the first on, the budget allows.

    Most decisions fit into what the lane is allowed already, and lock no row that other lanes need.
    """
    held = tally["spent_usd"] + tally["reserved_usd"] - released
    wanted = held + sum(expected, ZERO)
    if tally["budget_usd"] is None:
        return len(expected)
    lanes = backfill.id, owner.lane_id
    if wanted <= tally["allowance_usd"] and not await connection.fetchval(SQL["is_another_lane_overrun"], *lanes):
        return len(expected)
    allowance = await _topped_up(connection, owner, backfill, wanted)
    return sum(total <= allowance for total in accumulate(expected, initial=held)) - 1 if held <= allowance else 0


async def _topped_up(connection: Connection, owner: LaneHolder, backfill: Backfill, wanted: Decimal) -> Decimal:
    """Raise the lane's allowance as far as the budget reaches: beyond what is wanted while plenty is left."""
    budget: Decimal = await connection.fetchval(SQL["lock_budget"], backfill.id)
    limit = budget - await connection.fetchval(SQL["held_by_other_lanes"], backfill.id, owner.lane_id)
    if limit < wanted:
        await connection.execute(SQL["reclaim_allowances"], backfill.id, owner.lane_id)
        limit = budget - await connection.fetchval(SQL["held_by_other_lanes"], backfill.id, owner.lane_id)
    allowance: Decimal = min(limit, wanted + ((limit - wanted) * CUSHION).quantize(MICRODOLLAR))
    await connection.execute(SQL["set_allowance"], backfill.id, owner.lane_id, allowance)
    return allowance


async def _lock_jobs_of(connection: Connection, intents: Sequence[Intent]) -> None:
    await connection.execute(SQL["lock_jobs_of_identities"], [intent.identity for intent in intents])


async def _insert_intents(
    connection: Connection,
    owner: LaneHolder,
    backfill: Backfill,
    channel_id: int,
    intents: Sequence[Intent],
    expected: Sequence[Decimal],
) -> None:
    """Add the jobs that are new."""
    tokens = [token_of(intent.identity, intent.video.generation) for intent in intents]
    await connection.execute(
        SQL["add_intents_if_new"],
        [intent.video.id for intent in intents],
        [intent.identity for intent in intents],
        [intent.video.generation for intent in intents],
        [tag_of(token) for token in tokens],
        tokens,
        [intent.object.bucket for intent in intents],
        [intent.object.key for intent in intents],
        [intent.object.version_id for intent in intents],
        [intent.object.etag for intent in intents],
        [intent.object.size_bytes for intent in intents],
        expected,
        owner.lane_id,
        channel_id,
        backfill.id,
        backfill.min_confidence,
        backfill.aggregate_by,
    )


async def _attach(connection: Connection, intents: Sequence[Intent]) -> None:
    """Tie every video to its job; the jobs are locked anew, for those that somebody else has just added."""
    await _lock_jobs_of(connection, intents)
    await connection.execute(
        SQL["attach_videos"], [intent.video.id for intent in intents], [intent.identity for intent in intents]
    )


def _usd(amount: float) -> Decimal:
    """The amount as the database keeps it, so that every sum is exact."""
    return Decimal(amount).quantize(MICRODOLLAR)


def _video(row: asyncpg.Record, backfill: Backfill, reserved_usd: Decimal) -> Video:
    named = Object(row["bucket"], row["key"], row["version_id"], row["etag"], row["size_bytes"], row["duration_ms"])
    return Video(row["id"], backfill, named, row["generation"], row["claims"] + 1, float(reserved_usd))

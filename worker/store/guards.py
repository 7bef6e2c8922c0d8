"""When the books say that it is better to stop: too many failures, results that grow old, a restored past."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, json

from worker.store.database import SQL, Database, patient

ENOUGH_OUTCOMES = 50  # S3 Batch Operations stops at 1,000 and 50%; a video costs more than a call
MOST_FAILURES = 0.2
FAILOVER = 1 / 168  # of a token's life, an hour: a database that replaced another one sooner was not restored
MARKS_AT_ONCE = 5_000
MOST_COUNTED = 1_000_000
UNKNOWN_PURCHASE = "it may have been bought after the backup was taken that this database was restored from"


class Paused(Struct, frozen=True):
    """A backfill that was paused, and why."""

    backfill: str
    reason: str


class Suspicion(Struct, frozen=True):
    """Purchases after `since` may be unknown here, `age_seconds` ago; how many unsettled videos are older than that."""

    since: datetime
    age_seconds: float
    videos: int


class Guards:
    """Looks at the books, and acts on what it finds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def pause_failing(self) -> list[Paused]:
        """Pause the backfills of which more than a fifth fails; twice is once."""
        rows = await self._database.commit("pause_failing_backfills", ENOUGH_OUTCOMES, MOST_FAILURES)
        return [Paused(row["name"], row["pause_reason"]) for row in rows]

    @patient
    async def oldest_result_seconds(self, lane_id: int) -> float:
        """Age of the oldest result that waits to be read, since its job was started; 0 where none waits."""
        return float(await self._database.pool.fetchval(SQL["oldest_result"], lane_id) or 0.0)

    @patient
    async def suspicion(self, token_seconds: float) -> Suspicion | None:
        """Whether jobs may have been bought that this database does not know, and AWS would not tell any more.

        That is so where the newest trace of work is older than the tokens' life, or where this was found to be another
        incarnation of the database, some time after work was done in it, and the tokens of that time have grown old.
        """
        async with self._database.transaction("suspicion") as connection:
            traces = await connection.fetchrow(SQL["traces_of_work"])
            incarnation = await connection.fetchval(SQL["incarnation"])
            if traces is None or traces["worked_at"] is None:
                await connection.execute(SQL["set_incarnation"], incarnation, None)
                return None
            since, age_seconds = traces["restored_from"], traces["restored_seconds"]
            if since is None:
                is_another = traces["incarnation"] not in (None, incarnation)
                is_restored = is_another and traces["idle_seconds"] > token_seconds * FAILOVER
                since, age_seconds = traces["worked_at"], traces["idle_seconds"]
                await connection.execute(SQL["set_incarnation"], incarnation, since if is_restored else None)
            if age_seconds < token_seconds:
                return None
            videos = await connection.fetchval(SQL["unsettled_since"], since, MOST_COUNTED)
        return Suspicion(since, age_seconds, videos) if videos else None

    @patient
    async def pause_suspected(self, suspicion: Suspicion, reason: str) -> list[Paused]:
        """Pause the backfills whose videos may have been bought since."""
        rows = await self._database.commit("pause_suspected", suspicion.since, reason)
        return [Paused(row["name"], reason) for row in rows]

    @patient
    async def accept(self, suspicion: Suspicion, action: str, who: str) -> None:
        """Take an operator's word on it, and suspect no more."""
        detail = json.encode({"since": suspicion.since, "unsettled": suspicion.videos}).decode()
        async with self._database.transaction("accept") as connection:
            await connection.execute(SQL["set_incarnation"], await connection.fetchval(SQL["incarnation"]), None)
            await connection.execute(SQL["forget_traces"])
            await connection.execute(SQL["write_audit"], who, action, None, detail)

    @patient
    async def mark_uncertain(self, suspicion: Suspicion) -> int:
        """Make some of the videos uncertain that may have been bought since; returns how many, 0 when none is left."""
        ((marked,),) = await self._database.commit("mark_uncertain", suspicion.since, MARKS_AT_ONCE, UNKNOWN_PURCHASE)
        return int(marked)

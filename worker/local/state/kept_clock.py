"""The clock across processes: kept in the database, and gone on with by the next process."""

from __future__ import annotations

import sqlite3
import time

import msgspec

from worker.local.state.clock import Clock

KEPT_EVERY_SECONDS = 0.25  # by a process that runs, also while nothing is asked of it
_LONGEST_UNKEPT_MS = 1000  # before a process died: four times as long, for a write that took its time

REHIDE = """
WITH RECURSIVE name (queue) AS (
    SELECT min(queue) FROM message
     UNION ALL
    SELECT (SELECT min(queue) FROM message WHERE queue > name.queue) FROM name WHERE name.queue IS NOT NULL
)
UPDATE message
   SET visible_at_ms = :now + CAST(round(((visible_at_ms - :kept) / :kept_speed - :away) * :speed) AS INTEGER),
       received_at_ms = :now + CAST(round(((received_at_ms - :kept) / :kept_speed - :away) * :speed) AS INTEGER)
 WHERE queue IN (SELECT queue FROM name) AND visible_at_ms > :kept
"""


class _Kept(msgspec.Struct, frozen=True):
    """A moment of the clock, the true time of it, and whether the process went on after it."""

    now_ms: int
    true_ms: int
    speed: float
    went_on: bool


def keep(connection: sqlite3.Connection, clock: Clock, *, goes_on: bool) -> None:
    """Keep the present moment; `goes_on` unless nobody will see a later one of this process."""
    moment = _Kept(clock.now_ms(), _true_ms(), clock.speed, goes_on)
    connection.execute(
        "INSERT OR REPLACE INTO clock (id, now_ms, true_ms, speed, went_on) VALUES (1, ?, ?, ?, ?)",
        msgspec.structs.astuple(moment),
    )


def resumed(connection: sqlite3.Connection, speed: float) -> Clock:
    """The clock, gone on from the moment that was kept: at true speed for the time that no process ran.

    A process that was killed may have run for a second after the moment that it kept last: so much of the time since
    then, or a second where the machine's own clock was set back, counts at its speed, so that this one never goes back.

    Timeouts and delays of messages are the client's true seconds, also while no process runs and at another speed: what
    is left of them is written anew.
    """
    row = connection.execute("SELECT now_ms, true_ms, speed, went_on FROM clock").fetchone()
    if row is None:
        return Clock(_true_ms(), speed)
    kept = _Kept(*row)
    away_ms = max(0, _true_ms() - kept.true_ms)
    unkept_ms = min(away_ms or _LONGEST_UNKEPT_MS, _LONGEST_UNKEPT_MS) if kept.went_on else 0
    clock = Clock(kept.now_ms + round(unkept_ms * kept.speed + max(0, away_ms - unkept_ms)), speed)
    if (kept.speed, speed) != (1, 1):
        _rehide(connection, kept, away_ms, clock)
    return clock


def _rehide(connection: sqlite3.Connection, kept: _Kept, away_ms: int, clock: Clock) -> None:
    moments = {"now": clock.now_ms(), "kept": kept.now_ms, "away": away_ms}
    connection.execute(REHIDE, moments | {"kept_speed": kept.speed, "speed": clock.speed})


def _true_ms() -> int:
    return time.time_ns() // 1_000_000

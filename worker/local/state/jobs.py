"""The rows of jobs, and the sums kept beside them. Every function works in its connection's transaction."""

from __future__ import annotations

import sqlite3

import msgspec

from worker.local.protocol.identity import Caller

IN_PROGRESS, SUCCEEDED, FAILED = "IN_PROGRESS", "SUCCEEDED", "FAILED"


class NewJob(msgspec.Struct, frozen=True):
    """A job as it is started. `version_id` is the one asked for; `ends_at_ms` None: when its analysis is done.

    `seed` is that of the synthetic analyst that the job belongs to, None for the analyst that really looks.
    """

    job_id: str
    account: str
    region: str
    bucket: str
    key: str
    version_id: str | None
    size_bytes: int
    min_confidence: float
    token: str | None
    tag: str | None
    topic_arn: str | None
    started_at_ms: int
    ends_at_ms: int | None
    seed: int | None


class Job(NewJob, frozen=True):
    """A job as it is stored."""

    number: int
    status: str
    status_message: str | None
    ended_at_ms: int | None
    minutes: float

    @property
    def owner(self) -> Caller:
        """The account and region that may ask for it."""
        return Caller(account=self.account, region=self.region)


class Ending(msgspec.Struct, frozen=True):
    """How a job ends; `failure` is its StatusMessage."""

    ended_at_ms: int
    failure: str | None
    minutes: float
    told_as: str | None = None  # in its notice, where that is not the JobStatus

    @property
    def status(self) -> str:
        """The JobStatus."""
        return SUCCEEDED if self.failure is None else FAILED


class Token(msgspec.Struct, frozen=True):
    """What was started under a ClientRequestToken."""

    request: bytes
    job_id: str
    started_at_ms: int


_NEW_COLUMNS = ", ".join(NewJob.__struct_fields__)
_NEW_VALUES = ", ".join("?" for _ in NewJob.__struct_fields__)
_COLUMNS = ", ".join(Job.__struct_fields__)


def find(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """The job of that JobId."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM job WHERE job_id = ?", (job_id,)).fetchone()  # noqa: S608 (names of our own)
    return Job(*row) if row else None


def running(connection: sqlite3.Connection, owner: Caller) -> int:
    """How many jobs of the account run in the region."""
    row = connection.execute(
        "SELECT running FROM slots WHERE account = ? AND region = ?", (owner.account, owner.region)
    ).fetchone()
    return row[0] if row else 0


def insert(connection: sqlite3.Connection, job: NewJob) -> None:
    """Store a started job; it takes a slot and counts as paid."""
    connection.execute(
        f"INSERT INTO job ({_NEW_COLUMNS}) VALUES ({_NEW_VALUES})",  # noqa: S608 (names of our own)
        msgspec.structs.astuple(job),
    )
    connection.execute(
        """
        INSERT INTO slots (account, region, running, most_running, changed_at_ms) VALUES (?1, ?2, 1, 1, ?3)
        ON CONFLICT DO UPDATE SET running = running + 1, most_running = max(most_running, running + 1),
                                  busy_ms = busy_ms + running * (?3 - changed_at_ms),
                                  active_ms = active_ms + (running > 0) * (?3 - changed_at_ms), changed_at_ms = ?3
        """,
        (job.account, job.region, job.started_at_ms),
    )
    connection.execute(
        """
        UPDATE totals SET paid_jobs = paid_jobs + 1, running = running + 1,
                          most_running = max(most_running, running + 1)
        """
    )


def count_replay(connection: sqlite3.Connection) -> None:
    """A Start has led to a job of before."""
    connection.execute("UPDATE totals SET replays = replays + 1")


def finish(connection: sqlite3.Connection, job: Job, ending: Ending) -> bool:
    """End a job that runs; False where it had ended before."""
    ended = connection.execute(
        "UPDATE job SET status = ?, status_message = ?, ended_at_ms = ?, minutes = ? WHERE number = ? AND status = ?",
        (ending.status, ending.failure, ending.ended_at_ms, ending.minutes, job.number, IN_PROGRESS),
    ).rowcount
    if not ended:
        return False
    connection.execute(
        """
        UPDATE slots SET running = running - 1, busy_ms = busy_ms + running * (?3 - changed_at_ms),
                         active_ms = active_ms + ?3 - changed_at_ms, changed_at_ms = ?3
         WHERE account = ?1 AND region = ?2
        """,
        (job.account, job.region, ending.ended_at_ms),
    )
    connection.execute("UPDATE totals SET running = running - 1, minutes = minutes + ?", (ending.minutes,))
    return True


def due(connection: sqlite3.Connection, now_ms: int, most: int) -> list[Job]:
    """Running jobs of the synthetic analyst whose time is over, the earliest first."""
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM job WHERE status = 'IN_PROGRESS' AND seed IS NOT NULL AND ends_at_ms <= ?
         ORDER BY ends_at_ms LIMIT ?
        """,  # noqa: S608 (names of our own)
        (now_ms, most),
    )
    return [Job(*row) for row in rows]


def next_end_ms(connection: sqlite3.Connection) -> int | None:
    """When the time of the synthetic analyst's next running job is over."""
    (ends_at_ms,) = connection.execute(
        "SELECT min(ends_at_ms) FROM job WHERE status = 'IN_PROGRESS' AND seed IS NOT NULL"
    ).fetchone()
    return ends_at_ms  # type: ignore[no-any-return]  # a column of integers or NULL


def first_unfinished(connection: sqlite3.Connection, after_number: int) -> Job | None:
    """The running job started next after that one, of those that an analyst really looks at."""
    row = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM job WHERE status = 'IN_PROGRESS' AND seed IS NULL AND number > ?
         ORDER BY number LIMIT 1
        """,  # noqa: S608 (names of our own)
        (after_number,),
    ).fetchone()
    return Job(*row) if row else None


def after(connection: sqlite3.Connection, number: int, most: int) -> list[Job]:
    """Jobs in the order of their start."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM job WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608 (names of our own)
        (number, most),
    )
    return [Job(*row) for row in rows]


def find_token(connection: sqlite3.Connection, owner: Caller, token: str, since_ms: int) -> Token | None:
    """What was started under the token after `since_ms`: older tokens may be used again."""
    row = connection.execute(
        """
        SELECT request, job_id, started_at_ms FROM token
         WHERE account = ? AND region = ? AND token = ? AND started_at_ms > ?
        """,
        (owner.account, owner.region, token, since_ms),
    ).fetchone()
    return Token(*row) if row else None


def bind_token(connection: sqlite3.Connection, owner: Caller, token: str, bound: Token) -> None:
    """Remember the job that was started under the token."""
    connection.execute(
        """
        INSERT OR REPLACE INTO token (account, region, token, request, job_id, started_at_ms)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        (owner.account, owner.region, token, bound.request, bound.job_id, bound.started_at_ms),
    )

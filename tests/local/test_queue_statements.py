"""The statements on messages, whose number is not bounded."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from worker.local.sqs import messages
from worker.local.state import kept_clock
from worker.local.state.database import Database

STATEMENTS = {
    name: statement
    for name, statement in (vars(messages) | vars(kept_clock)).items()
    if name.isupper() and isinstance(statement, str)
}
SEND_MANY = """
INSERT INTO message (queue, message_id, body, sent_at_ms, visible_at_ms)
SELECT ?, n, 'x', n, n
  FROM (WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) SELECT n FROM number)
"""


@pytest.fixture
def connection(portal: BlockingPortal, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database of the service's."""

    async def make() -> None:
        await Database(tmp_path / "made.sqlite", speed=1).close()

    portal.call(make)
    with closing(sqlite3.connect(tmp_path / "made.sqlite")) as connection:
        yield connection


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_goes_by_an_index(connection: sqlite3.Connection, name: str) -> None:
    """No statement reads the whole table of messages, nor sorts what it reads."""
    statement = STATEMENTS[name]
    named = dict.fromkeys(re.findall(r":(\w+)", statement))
    plan = connection.execute("EXPLAIN QUERY PLAN " + statement, named or (None,) * statement.count("?")).fetchall()
    steps = [str(step) for *_, step in plan]
    assert not [step for step in steps if step.startswith("SCAN message") or "TEMP B-TREE" in step], steps


def test_a_receive_of_a_long_queue_reads_little(connection: sqlite3.Connection) -> None:
    """A receive of ten takes hardly more steps of the database among 100,000 messages than among 100."""

    def steps_of_a_receive() -> int:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(count, 10)
        messages.next_visible_at_ms(connection, "a/q")
        messages.oldest_sent_at_ms(connection, "a/q")
        assert len(messages.take(connection, "a/q", 10, 10**9, 2 * 10**9, 0)) == 10
        connection.set_progress_handler(None, 0)
        return steps

    def send(count: int) -> None:
        connection.execute(SEND_MANY, ("a/q", count))

    send(100)
    at_few = steps_of_a_receive()
    send(100_000)
    assert steps_of_a_receive() <= at_few * 1.5

"""The protocol in every order of its steps; and that the explorer sees what is wrong with wrong protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.model.explorer import Explored, explorer
from tests.model.scopes import SMALL, Scope
from worker.model import Failure, token_of
from worker.store import claims
from worker.store.database import SQL
from worker.store.jobs import Jobs
from worker.store.leases import LaneHolder

Explore = Callable[[Scope], Awaitable[Explored]]


@pytest.fixture
def explore(database_url: str) -> Explore:
    """Explores a scope on a database of the test's own."""

    async def explore(scope: Scope) -> Explored:
        async with explorer(scope, database_url) as exploration:
            explored = await exploration.explore()
        print(f"{scope.name}: {explored}")
        return explored

    return explore


@pytest.mark.parametrize("scope", SMALL, ids=lambda scope: scope.name)
async def test_protocol_holds(explore: Explore, scope: Scope):
    """Whatever happens, nothing is paid twice, lost or doubled, and the work can always be finished."""
    explored = await explore(scope)
    assert explored.violations == []
    assert explored.ends > 0


async def test_exploration_is_the_same_each_time(explore: Explore):
    """The same calls are made, and the same states seen in as many ways."""
    scope = Scope("twice", faults=("crash", "failed"))
    assert await explore(scope) == await explore(scope)


WRONG_STATEMENTS: list[tuple[str, str, str, Scope, str]] = [
    (
        "accept_pages",
        "and j.next_page = p.first_number and coalesce(j.digest, '') = p.follows",
        "and p.first_number is not null and p.follows is not null",
        Scope("a page is written again", faults=("lost_commit",)),
        "job 11 is done with",
    ),
    (
        "accept_pages",
        "coalesce(j.digest, '') = p.follows",
        "p.follows is not null",
        Scope("pages of two readings", faults=("rearranged",)),
        "job 11 is done with",
    ),
    (
        "confirm_starts",
        "and j.state = (select 'intent')",
        "",
        Scope("a JobId is recorded again", faults=("pause",)),
        "the database refuses: CheckViolationError",
    ),
    (
        "return_claimed_if_jobless",
        ", reserved_usd = t.reserved_usd - c.reserved_usd",
        "",
        Scope("a reservation is forgotten", faults=("crash",)),
        "verify_money",
    ),
    (
        "return_claimed_if_jobless",
        "lane_id = (select id from owner)",
        "lane_id = $1",
        Scope("an earlier owner returns claims", faults=("pause",)),
        "counts as taken up 3 times",
    ),
    (
        "lock_tally_if_owner",
        "l.holder = $3 and l.epoch = $4",
        "$3::uuid is not null and $4::bigint is not null",
        Scope("an earlier owner claims", faults=("pause",)),
        "counts as taken up 3 times",
    ),
    (
        "lock_tally_if_owner",
        "b.budget_usd",
        "null::numeric as budget_usd",
        Scope("no look at the budget", (("a.mp4", "b.mp4"),), (), budget_usd=1.5),
        "of a budget of 1.5 US dollars",
    ),
    (
        "intents_of_lane",
        "j.state = 'intent'",
        "false",
        Scope("nobody inherits", faults=("crash",)),
        "from here the work can never be finished",
    ),
    (
        "mark_overdue",
        "due_at < statement_timestamp()",
        "false",
        Scope("nobody asks", faults=(), has_notices=False),
        "from here the work can never be finished",
    ),
]


@pytest.mark.parametrize(
    ("name", "right", "wrong", "scope", "sentence"), WRONG_STATEMENTS, ids=[case[3].name for case in WRONG_STATEMENTS]
)
async def test_wrong_statement_is_found(
    explore: Explore, monkeypatch: pytest.MonkeyPatch, name: str, right: str, wrong: str, scope: Scope, sentence: str
):
    """A statement without one of its guards breaks the protocol, and the way there is told step by step."""
    assert SQL[name].count(right) == 1
    monkeypatch.setitem(SQL, name, SQL[name].replace(right, wrong))
    _assert_found(await explore(scope), sentence)


async def test_token_of_the_buyer_is_found(explore: Explore, monkeypatch: pytest.MonkeyPatch):
    """Were tokens made of who buys, a restored backup and another owner would pay again."""
    insert = claims._insert_intents

    async def insert_as(connection: Any, owner: LaneHolder, *arguments: Any) -> None:
        monkeypatch.setattr(claims, "token_of", lambda i, generation: token_of(i + owner.holder.bytes, generation))
        await insert(connection, owner, *arguments)

    monkeypatch.setattr(claims, "_insert_intents", insert_as)
    scope = Scope("tokens of the buyer", faults=("restore", "stop"), most_faults=2)
    _assert_found(await explore(scope), "a.mp4 was paid for 2 times, and AWS failed 0 of its jobs")


async def test_new_generation_on_a_timeout_is_found(explore: Explore, monkeypatch: pytest.MonkeyPatch):
    """Were a job given up because it takes long, its video would be paid for again."""

    async def give_up(jobs: Jobs, job_id: int, _seconds: float) -> None:
        await jobs.fail(Failure(job_id, "failed", "timeout", "failed", worth_another=True))

    monkeypatch.setattr(Jobs, "wait_longer", give_up)
    explored = await explore(Scope("timeout", faults=()))
    _assert_found(explored, "a.mp4 was paid for 2 times, and AWS failed 0 of its jobs")


def _assert_found(explored: Explored, sentence: str) -> None:
    assert len(explored.violations) == 1
    told, *steps = explored.violations[0].splitlines()
    assert sentence in told
    assert [step.split(".")[0].strip() for step in steps] == [str(i + 1) for i in range(len(steps))]
    assert "claims" in explored.violations[0]

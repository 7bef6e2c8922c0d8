"""Goes through every state that the protocol can come to, with at most so many faults on the way.

States are visited in the order of the faults that they need, depth first among those that need as many. So each is
seen once, a violation comes with a way of fewest faults, and the exploration ends by itself: without faults every
owner runs dry. In the end it is asked of each state whether the work can still be finished without another fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from tests.model.actions import Owner, Protocol, Step, World, holds
from tests.model.aws import Aws
from tests.model.books import CANONICAL_NUMBERS, Books, Contents
from tests.model.calls import LEASE_SECONDS
from tests.model.invariants import broken_by_spending, broken_in, is_at_its_end
from tests.model.scopes import Scope
from tests.store.steps import ACCOUNT, REGION, Steps

LABELS = ("Weapons", "Alcohol")
SETTINGS = {"jit": "off", "plan_cache_mode": "force_generic_plan", "synchronous_commit": "off"}
_NOBODY = Owner("\0").holder.id


class Explored(Struct, frozen=True):
    """What was seen: `contents` of the database, `calls` of the store that were made, `ends` with every video final.

    A violation is a sentence, followed by the steps that lead there; the first one ends the exploration.
    """

    states: int
    transitions: int
    ends: int
    contents: int
    calls: int
    violations: list[str]


class _Seen(Struct):
    """A state that was met: how, and after which."""

    world: World
    faults: int
    parent: int
    told: str
    is_expanded: bool = False


class Explorer:
    """One exploration."""

    def __init__(self, scope: Scope, books: Books, protocol: Protocol, start: World) -> None:
        self._scope = scope
        self._books = books
        self._protocol = protocol
        self._seen: list[_Seen] = []
        self._numbers: dict[Any, int] = {}
        self._layers: list[list[int]] = [[] for _ in range(scope.most_faults + 1)]
        self._before: list[list[int]] = []  # of each state, those that lead to it without a fault
        self._transitions = 0
        self._violations: list[str] = []
        self._meet(start, faults=0, parent=0, told="")

    async def explore(self) -> Explored:
        """Visit everything."""
        for layer in self._layers:
            while layer and not self._violations:
                number = layer.pop()
                if not self._seen[number].is_expanded:
                    self._seen[number].is_expanded = True
                    await self._expand(number)
        if not self._violations:
            self._find_dead_ends()
        return Explored(
            states=len(self._seen),
            transitions=self._transitions,
            ends=sum(self._is_at_its_end(seen) for seen in self._seen),
            contents=len(self._books),
            calls=self._books.calls_made,
            violations=self._violations,
        )

    async def _expand(self, number: int) -> None:
        seen = self._seen[number]
        before = self._books[seen.world.contents]
        for step in self._protocol.steps(seen.world, before):
            if step.fault and (seen.faults == self._scope.most_faults or step.fault not in self._scope.faults):
                continue
            if step.call is None:
                self._reach(number, step.told, step.world, is_fault=bool(step.fault))
                continue
            outcome = await self._books.outcome(seen.world.contents, step.call)
            if outcome.error:
                self._violate(f"the database refuses: {outcome.error}", number, step.told)
                return
            committed = replace(step.world, contents=outcome.contents)
            after = self._books[outcome.contents]
            for sentence in broken_by_spending(self._scope, before, after):
                self._violate(sentence, number, step.told)
            self._reach(number, step.told, step.then(committed, outcome.answer), is_fault=bool(step.fault))
            if self._may_lose_answer(step, seen, outcome.contents):
                told = f"{step.told}; the answer to the commit is lost"
                unheard = seen.world.with_owner(step.unheard(outcome.answer))
                self._reach(number, told, replace(unheard, contents=outcome.contents), is_fault=True)

    def _may_lose_answer(self, step: Step, seen: _Seen, contents: int) -> bool:
        return (
            step.unheard is not None
            and contents != seen.world.contents
            and seen.faults < self._scope.most_faults
            and "lost_commit" in self._scope.faults
        )

    def _reach(self, parent: int, told: str, world: World, *, is_fault: bool) -> None:
        self._transitions += 1
        faults = self._seen[parent].faults + is_fault
        number = self._meet(world, faults=faults, parent=parent, told=told)
        if not is_fault and number != parent:
            self._before[number].append(parent)

    def _meet(self, world: World, *, faults: int, parent: int, told: str) -> int:
        key = self._key_of(world)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._seen)
            self._seen.append(_Seen(world, faults, parent, told))
            self._before.append([])
            self._layers[faults].append(number)
            for sentence in broken_in(self._scope, world, self._books[world.contents]):
                self._violate(sentence, number)
        elif faults < self._seen[number].faults:
            self._seen[number].faults = faults
            self._seen[number].parent, self._seen[number].told = parent, told
            self._layers[faults].append(number)
        return number

    def _key_of(self, world: World) -> Any:
        """What makes two states the same: neither the owners' names, nor the ids and epochs that they went through."""
        contents = self._books[world.contents]
        first, second = (_as_seen_by_the_lane(owner, contents) for owner in world.owners)
        owners = (first, second) if hash(first) <= hash(second) else (second, first)
        return contents.rest, contents.lane["is_held"], world.aws, owners

    def _find_dead_ends(self) -> None:
        """Every state must still be able to come to an end in which all videos are final."""
        good = [number for number, seen in enumerate(self._seen) if self._is_at_its_end(seen)]
        can_finish = set(good)
        while good:
            for earlier in self._before[good.pop()]:
                if earlier not in can_finish:
                    can_finish.add(earlier)
                    good.append(earlier)
        stuck = [number for number in range(len(self._seen)) if number not in can_finish]
        if stuck:
            turns = (number for number in stuck if self._seen[number].parent in can_finish)
            self._violate("from here the work can never be finished", next(turns, stuck[-1]))

    def _is_at_its_end(self, seen: _Seen) -> bool:
        return is_at_its_end(self._scope, self._books[seen.world.contents])

    def _violate(self, sentence: str, number: int, *last: str) -> None:
        if self._violations:
            return
        steps = [*self._way_to(number), *last]
        numbered = "\n".join(f"  {i}. {step}" for i, step in enumerate(steps, 1))
        self._violations.append(f"{sentence}\n{numbered}")

    def _way_to(self, number: int) -> list[str]:
        way = []
        while number:
            way.append(self._seen[number].told)
            number = self._seen[number].parent
        return way[::-1]


def _as_seen_by_the_lane(owner: Owner, contents: Contents) -> tuple[bool, Owner]:
    lease = owner.lease and replace(owner.lease, holder=_NOBODY, epoch=0)
    return holds(owner, contents), replace(owner, name="", incarnation=0, lease=lease)


@asynccontextmanager
async def explorer(scope: Scope, url: str) -> AsyncIterator[Explorer]:
    """An exploration on a migrated, empty database, which is empty again afterwards."""
    connection = await asyncpg.connect(url, server_settings=SETTINGS)
    try:
        whole = connection.transaction()
        await whole.start()
        await connection.execute(CANONICAL_NUMBERS)
        books = Books(connection, url, claim_usd=scope.claim_usd, intent_usd=scope.intent_usd)
        yield await _begin(scope, books)
        await whole.rollback()
    finally:
        await connection.close()


async def _begin(scope: Scope, books: Books) -> Explorer:
    """Register the lane and the videos; the first owner has just taken the lane."""
    steps = Steps(books.database)
    first, second = Owner("A"), Owner("B")
    row = await steps.leases.register("main", REGION)
    await steps.leases.channels(row.id, "topic", "role")
    lease = await steps.leases.acquire(row.id, first.holder, LEASE_SECONDS, ACCOUNT)
    await steps.execute("insert into label (name, parent_name) select n, '' from unnest($1::text[]) n", list(LABELS))
    backfills = []
    for number, keys in enumerate(scope.keys, 1):
        backfill = await steps.backfill(
            f"backfill {number}", budget_usd=scope.budget_usd, price_usd_per_minute=scope.price_usd_per_minute
        )
        await steps.register(backfill, lease, keys)
        await steps.execute("drop table staged_video")  # dropped at the commit, which never comes here
        backfills.append(backfill)
    protocol = Protocol(scope, row.id, await steps.channel(lease), backfills)
    start = World(await books.begin(), Aws(), (replace(first, lease=lease, has_inherited=True), second))
    return Explorer(scope, books, protocol, start)

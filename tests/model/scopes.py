"""How much of the world an exploration looks at: which videos, what money, which faults, and how many of them."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

Fault = Literal[
    "crash",  # an owner's memory is forgotten, its lease runs on
    "pause",  # an owner stands still until its lease is over, and does not know
    "stop",  # an owner is told to end, and gives back what it can
    "lost_answer",  # AWS has executed a Start, nobody hears of it
    "lost_commit",  # the database has committed, nobody hears of it
    "failed",  # AWS fails a job
    "page_tokens",  # AWS does not take the page tokens any more that it gave
    "rearranged",  # the same, and from page 1 on the labels come in another order
    "gone",  # HEAD does not find the object
    "restore",  # a backup of the database is restored, while AWS and the owners go on
    "week",  # nobody works for a week: tokens and results are forgotten
]
FAULTS: tuple[Fault, ...] = get_args(Fault)


class Scope(Struct, frozen=True):
    """What is explored; `keys` names the objects of each backfill."""

    name: str
    keys: tuple[tuple[str, ...], ...] = (("a.mp4",),)
    faults: tuple[Fault, ...] = FAULTS
    most_faults: int = 1
    claim_limit: int = 2
    budget_usd: float | None = None
    claim_usd: float = 1.0
    intent_usd: float = 1.0
    true_minutes: float = 10.0
    price_usd_per_minute: float = 0.1
    has_notices: bool = True

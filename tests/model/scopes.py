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
EVERYDAY = tuple(fault for fault in FAULTS if fault != "week")
"""A week after a backup was restored nobody can tell what was bought meanwhile: there the operator is asked."""
OUTAGES = tuple(fault for fault in FAULTS if fault != "restore")
SHORT = ("crash", "stop", "lost_answer", "lost_commit", "failed", "page_tokens", "gone")
"""What needs no second owner that goes on: with it the states of two videos are many times as many."""


class Scope(Struct, frozen=True):
    """What is explored; `keys` names the objects of each backfill."""

    name: str
    keys: tuple[tuple[str, ...], ...] = (("a.mp4",),)
    faults: tuple[Fault, ...] = EVERYDAY
    most_faults: int = 1
    claim_limit: int = 2
    budget_usd: float | None = None
    claim_usd: float = 1.0  # expected of a video at its claim
    intent_usd: float = 1.0  # expected once HEAD has told its size
    true_minutes: float = 10.0
    price_usd_per_minute: float = 0.1
    has_notices: bool = True  # else every one is lost
    has_true_clock: bool = False  # an owner whose lease is over knows it, and takes up nothing more


TWO = (("a.mp4", "b.mp4"),)
SAME = (("a.mp4",), ("a.mp4",))

SMALL = (
    Scope("one video"),
    Scope("without notices", has_notices=False, faults=SHORT),
    Scope("outages", faults=("lost_answer", "week"), most_faults=2, has_true_clock=True),
    Scope("two faults", faults=("crash", "lost_commit", "restore"), most_faults=2),
    Scope("two videos", TWO, SHORT),
    Scope("two videos, one by one", TWO, ("crash", "lost_answer"), claim_limit=1),
    Scope("one object in two backfills", SAME, SHORT),
    Scope("money for one", TWO, ("crash", "failed", "lost_commit"), budget_usd=1.5, claim_usd=0.5),
    Scope("money for one at a time", TWO, ("crash", "failed"), budget_usd=1.5, true_minutes=2.0),
)
"""What every run of the tests explores."""

LARGE = (
    Scope("one video", has_true_clock=True),
    Scope("two videos", TWO, has_true_clock=True),
    Scope("one object in two backfills", SAME, has_true_clock=True),
    Scope("outages", TWO, OUTAGES, has_true_clock=True),
)
"""What `python -m tests.model.explore` explores, with as many faults as it is told."""

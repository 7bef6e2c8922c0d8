"""Places at which a test may end the process or lose an answer: before and after each call and each commit.

A place costs a look at an empty dictionary. Nothing but a program that imports this module can arm one: no setting and
no variable of the environment does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Action = Callable[[], None]
"""What happens at a place; it may raise, or not return."""

_armed: dict[str, Action] = {}


def arm(name: str, action: Action) -> None:
    """Let something happen whenever the place of that name is passed."""
    _armed[name] = action


def passing(name: str) -> None:
    """The place itself."""
    if _armed and (action := _armed.get(name)):
        action()


@contextmanager
def around(name: str) -> Iterator[None]:
    """Two places, `NAME: before` and `NAME: after`; the second one is passed only where the block went well."""
    passing(f"{name}: before")
    yield
    passing(f"{name}: after")

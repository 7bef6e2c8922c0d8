"""`pause`, `resume` and `migrate`: an operator's word, safe while workers run, and twice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from worker.app import open_store
from worker.cli.parameters import ConfigFile
from worker.cli.terminal import AS_ASKED, out
from worker.config import load
from worker.errors import UsageError
from worker.store.registry import Registry

BY_HAND = "by hand"

Backfill = Annotated[str, Parameter(help="the backfill's name")]


async def pause(name: Backfill, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has."""
    async with open_store(load(config).settings) as database:
        if not await Registry(database).pause(name, BY_HAND):
            raise _unknown(name, config)
    out.print(f"backfill {name} is paused; `modworker resume` lets it go on")
    return AS_ASKED


async def resume(name: Backfill, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has."""
    async with open_store(load(config).settings) as database:
        if not await Registry(database).resume(name):
            raise _unknown(name, config)
    out.print(f"backfill {name} goes on")
    return AS_ASKED


async def migrate(*, config: ConfigFile) -> int:
    """Exit code 0."""
    async with open_store(load(config).settings, may_migrate=True):
        out.print("the database is up to date")
    return AS_ASKED


def _unknown(name: str, config: Path) -> UsageError:
    return UsageError(f"there is no backfill {name!r}; `modworker status --config {config}` lists them")

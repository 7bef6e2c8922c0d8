"""`pause`, `resume`, `cancel` and `migrate`: an operator's word, safe while workers run, and twice."""

from __future__ import annotations

from worker.app import open_store, operator_of
from worker.cli.parameters import BackfillName, ConfigFile, unknown_backfill
from worker.cli.terminal import AS_ASKED, out
from worker.config import load
from worker.display.decisions import cancelled, resumed
from worker.store.registry import Registry

BY_HAND = "by hand"


async def pause(name: BackfillName, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has."""
    settings = load(config).settings
    async with open_store(settings) as database:
        if not await Registry(database).pause(name, BY_HAND, who=operator_of(settings)):
            raise unknown_backfill(name, config)
    out.print(f"backfill {name} is paused; `modworker resume` lets it go on")
    return AS_ASKED


async def resume(name: BackfillName, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has, or one that is being purged."""
    settings = load(config).settings
    async with open_store(settings) as database:
        lifted = await Registry(database).resume(name, who=operator_of(settings))
    if lifted is None:
        raise unknown_backfill(name, config)
    out.print(resumed(name, lifted))
    return AS_ASKED


async def cancel(name: BackfillName, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has."""
    settings = load(config).settings
    async with open_store(settings) as database:
        registry = Registry(database)
        if not await registry.cancel(name, who=operator_of(settings)):
            raise unknown_backfill(name, config)
        progress = await registry.progress(name)
    out.print(cancelled(name, progress))
    return AS_ASKED


async def migrate(*, config: ConfigFile) -> int:
    """Exit code 0."""
    async with open_store(load(config).settings, may_migrate=True):
        out.print("the database is up to date")
    return AS_ASKED

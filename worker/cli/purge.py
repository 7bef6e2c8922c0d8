"""`purge`: a backfill and all that only it has bought is removed."""

from __future__ import annotations

from contextlib import aclosing

import structlog

from worker.app import open_store, operator_of
from worker.cli.parameters import BackfillName, ConfigFile, unknown_backfill
from worker.cli.terminal import AS_ASKED, err, out
from worker.config import load
from worker.display.decisions import purged
from worker.display.progress import purging
from worker.store.purge import Purge, Purged
from worker.store.registry import Registry

logger = structlog.get_logger()


async def purge(name: BackfillName, /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a name that no backfill has, or one that is neither final nor cancelled.

    A video that is registered again later is bought again: AWS forgets after 7 days that it was paid. Interrupted,
    the same command goes on. PostgreSQL's autovacuum gives the room back.
    """
    settings = load(config).settings
    gone = Purged()
    async with open_store(settings) as database:
        backfill = await Registry(database).find(name)
        if backfill is None:
            raise unknown_backfill(name, config)
        with purging(err, logger.info, name) as shown:
            async with aclosing(Purge(database, backfill).run(operator_of(settings))) as batches:
                async for gone in batches:
                    shown(gone)
    out.print(purged(name, gone))
    return AS_ASKED

"""`retry`: videos that ended without labels are tried again; what may be paid twice only by the operator's word."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from worker.app import open_store, operator_of
from worker.cli.parameters import BackfillName, ConfigFile, unknown_backfill
from worker.cli.terminal import AS_ASKED, FINDING, out
from worker.config import load
from worker.display.decisions import held_up, repay_ahead, repay_left, retried
from worker.store.registry import Registry
from worker.store.retries import Retries, Terms


async def retry(
    name: BackfillName,
    /,
    *,
    config: ConfigFile,
    accept_repay: Annotated[bool, Parameter(negative="", help="also buy what may have been paid already")] = False,
    skipped: Annotated[bool, Parameter(negative="", help="also try what was skipped")] = False,
) -> int:
    """Exit code 0, 1 if videos are left that may have been paid already, or 2 for a name that no backfill has."""
    settings = load(config).settings
    terms = Terms(settings.aws.results_seconds, with_skipped=skipped, accepts_repay=accept_repay)
    async with open_store(settings) as database:
        registry = Registry(database)
        backfill = await registry.find(name)
        if backfill is None:
            raise unknown_backfill(name, config)
        retries = Retries(database)
        outlook = await retries.outlook(backfill, terms)
        if accept_repay and outlook.repay:
            out.print(repay_ahead(outlook))
        waiting = await retries.retry(backfill, terms, outlook, operator_of(settings))
        progress = await registry.progress(name)
    out.print(retried(name, outlook, waiting))
    if waiting and (progress.is_cancelled or progress.pause_reason is not None):
        out.print(held_up(name, progress))
    if accept_repay or not outlook.repay:
        return AS_ASKED
    out.print(repay_left(name, outlook, with_skipped=skipped))
    return FINDING

"""`export`: settled labels of backfills in a file."""

from __future__ import annotations

from typing import Annotated

import structlog
from cyclopts import Parameter

from worker.app import open_store
from worker.cli.parameters import ConfigFile, ExportFile, Since, unknown_backfill
from worker.cli.process import Signals, until_signal
from worker.cli.terminal import AS_ASKED, STOPPED_EARLY, complain, err, out
from worker.config import load
from worker.display.progress import exporting
from worker.display.summary import exported
from worker.errors import UsageError
from worker.export import Request
from worker.export import export as export_labels
from worker.export.formats import FormatName, format_of
from worker.export.target import STANDARD_OUTPUT, target_of
from worker.store.registry import Registry

logger = structlog.get_logger()


async def export(
    *,
    config: ConfigFile,
    name: Annotated[
        list[str], Parameter(negative="", help="of the backfill; again for each further one whose labels are wanted")
    ],
    to: ExportFile,
    since: Since = None,
    format: Annotated[FormatName | None, Parameter(help="in place of what the file's name ends with")] = None,  # noqa: A002 (the option's name)
    force: Annotated[bool, Parameter(negative="", help="replace a file that is there already")] = False,
) -> int:
    """Exit code 0, 2 for a name that no backfill has or a file that cannot be written, 3 if a signal ended it.

    Columns and their types are those of the view `moderation_labels`. The labels are those of one moment, whatever
    workers settle meanwhile; the file is there when it is complete, and not before.
    """
    settings = load(config).settings
    names = list(dict.fromkeys(name))
    request = Request(names, target_of(to, is_forced=force), _format_of(to, format), since)

    async def write(_: Signals) -> int:
        async with open_store(settings) as database:
            registry = Registry(database)
            for each in names:
                if await registry.find(each) is None:
                    raise unknown_backfill(each, config)
            with exporting(err, logger.info, names) as shown:
                done = await export_labels(database, request, shown)
        (err if request.target is None else out).print(exported(names, done, request.target))
        return AS_ASKED

    code = await until_signal(write)
    if code is None:
        complain(f"the export of backfill {', '.join(names)} was told to stop; nothing is kept of it")
        return STOPPED_EARLY
    return code


def _format_of(to: str, given: FormatName | None) -> FormatName:
    if to != STANDARD_OUTPUT:
        return given or format_of(to)
    if given == "parquet":
        raise UsageError("Parquet is no text for standard output; name a file")
    return given or "jsonl"

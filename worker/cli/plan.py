"""`plan`: how many, how long, how much, and which quota binds; starts nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from worker.admission import Request
from worker.cli.parameters import (
    EVERYTHING,
    AsJson,
    Budget,
    Choosing,
    ConfigFile,
    Name,
    Priority,
    Sources,
    unknown_backfill,
)
from worker.cli.process import Signals, until_signal
from worker.cli.terminal import AS_ASKED, FINDING, STOPPED_EARLY, complain, err, out
from worker.config import Loaded, load
from worker.display.plan import document, text
from worker.display.progress import counting
from worker.errors import UsageError
from worker.pipeline.discover import Discovered
from worker.pipeline.sources import default_name
from worker.plan import plan as planned


async def plan(
    sources: Sources | None = None,
    /,
    *,
    config: ConfigFile,
    name: Name = None,
    priority: Priority = None,
    budget_usd: Budget = None,
    choosing: Choosing = EVERYTHING,
    json: AsJson = False,
) -> int:
    """Exit code 0, or 1 if some rows of the sources name no video.

    Without sources, what is left of the backfill of that name.
    """
    if not sources and name is None:
        raise UsageError("plan needs sources, or the --name of a registered backfill")
    texts = sources or []
    request = Request(texts, name or default_name(texts), priority, budget_usd, choosing.filters())
    code = await until_signal(partial(_plan, load(config), config, request, json))
    if code is None:
        complain(f"the plan for {request.name} was told to stop before it was made")
        return STOPPED_EARLY
    return code


async def _plan(loaded: Loaded, config: Path, request: Request, as_json: bool, _: Signals) -> int:
    found = Discovered()
    with counting(err, "counting", request.name, found):
        made = await planned(loaded, config, request, found)
    if made is None:
        raise unknown_backfill(request.name, config)
    told = document(made)
    out.out(msgspec.json.encode(told).decode() if as_json else text(told))
    return FINDING if found.bad_rows else AS_ASKED

"""`serve`: the local moderation service alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from worker.cli.parameters import ConfigFile
from worker.cli.process import until_signal
from worker.cli.terminal import AS_ASKED, out
from worker.config import load
from worker.display.ledger import ledger
from worker.local.service import serve as serve_locally


async def serve(
    *,
    config: ConfigFile | None = None,
    speed: Annotated[
        float | None, Parameter(help="of its clock, in place of local.speed", validator=Number(gt=0, lte=1_000_000))
    ] = None,
    faults: Annotated[Path | None, Parameter(help="a fault plan (TOML), in place of local.faults")] = None,
) -> int:
    """Exit code 0 once a signal has ended it; then what was paid for and called is printed."""
    settings = load(config).settings
    given = {name: value for name, value in (("speed", speed), ("faults", faults)) if value is not None}
    settings = settings.model_copy(update={"local": settings.local.model_copy(update=given)})

    def settle(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        out.print(ledger(before, after))

    await until_signal(lambda _: serve_locally(settings, announce=out.print, settle=settle))
    return AS_ASKED

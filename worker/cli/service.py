"""`serve`: the local moderation service alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from worker.cli.parameters import ConfigFile
from worker.cli.process import Signals, until_signal
from worker.cli.terminal import AS_ASKED, out
from worker.config import Settings, load
from worker.display.ledger import ledger
from worker.errors import UsageError
from worker.local.service import serve as serve_locally

if TYPE_CHECKING:  # an extra
    from worker.local.analysts.model import Score


async def serve(
    *,
    config: ConfigFile | None = None,
    speed: Annotated[
        float | None, Parameter(help="of its clock, in place of local.speed", validator=Number(gt=0, lte=1_000_000))
    ] = None,
    faults: Annotated[Path | None, Parameter(help="a fault plan (TOML), in place of local.faults")] = None,
    cluster: Annotated[
        str | None, Parameter(help="a Ray cluster that scores the frames of real videos, in place of local.cluster")
    ] = None,
) -> int:
    """Exit code 0 once a signal has ended it, 3 if its cluster is lost; then what was paid and called is printed."""
    settings = load(config).settings
    options = {"speed": speed, "faults": faults, "cluster": cluster}
    given = {name: value for name, value in options.items() if value is not None}
    settings = settings.model_copy(update={"local": settings.local.model_copy(update=given)})
    await until_signal(partial(_serve, settings))
    return AS_ASKED


async def _serve(settings: Settings, _: Signals) -> None:
    async with _score(settings) as score:
        await serve_locally(settings, announce=out.print, settle=_settle, score=score)


def _settle(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    out.print(ledger(before, after))


@asynccontextmanager
async def _score(settings: Settings) -> AsyncIterator[Score | None]:
    """How frames are scored elsewhere; None for in this process.

    Raises:
        UsageError: if they cannot be.

    """
    local = settings.local
    if not local.cluster:
        yield None
        return
    if local.analyst != "onnx":
        raise UsageError(f'cluster {local.cluster}: only local.analyst = "onnx" has frames to score')
    from worker.cluster.frames import frames_scored_at  # noqa: PLC0415 (Ray is an extra)

    async with frames_scored_at(local.cluster, settings) as score:
        yield score

"""`serve`: the local moderation service alone."""

from __future__ import annotations

from worker.cli.parameters import ConfigFile
from worker.cli.process import until_signal
from worker.cli.terminal import AS_ASKED, out
from worker.config import load
from worker.local.service import serve as serve_locally


async def serve(*, config: ConfigFile) -> int:
    """Exit code 0 once a signal has ended it."""
    settings = load(config).settings
    await until_signal(lambda _: serve_locally(settings, announce=out.print))
    return AS_ASKED

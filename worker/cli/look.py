"""`status`, `labels`, `verify` and `audit`: what the database tells; they change nothing."""

from __future__ import annotations

from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter

from worker.app import open_store
from worker.cli.parameters import AsJson, ConfigFile, OnlyName, unknown_backfill
from worker.cli.terminal import AS_ASKED, FINDING, out
from worker.config import load
from worker.display.decisions import decisions
from worker.display.figures import counted, legible
from worker.display.status import status as status_text
from worker.display.timeline import timeline
from worker.errors import UsageError
from worker.store.audit import entries
from worker.store.registry import Registry
from worker.store.reports import Reports

STATUS_SECONDS = 2.0


async def status(
    *,
    config: ConfigFile,
    json: AsJson = False,
    watch: Annotated[bool, Parameter(negative="", help="again and again")] = False,
) -> int:
    """Exit code 0."""
    async with open_store(load(config).settings) as database:
        reports = Reports(database)
        while True:
            document = await reports.status()
            if watch and out.is_terminal:
                out.clear()
            out.out(msgspec.json.encode(document).decode() if json else status_text(document))
            if not watch:
                return AS_ASKED
            await anyio.sleep(STATUS_SECONDS)


async def labels(video: Annotated[str, Parameter(help="BUCKET/KEY")], /, *, config: ConfigFile) -> int:
    """Exit code 0, or 2 for a video that no backfill has registered."""
    bucket, slash, key = video.removeprefix("s3://").partition("/")
    if not slash or not key:
        raise UsageError(f"{video}: name a video as BUCKET/KEY")
    async with open_store(load(config).settings) as database:
        reports = Reports(database)
        states = await reports.states(bucket, key)
        found = await reports.labels(bucket, key)
    if not states:
        raise UsageError(f"{video}: no backfill has registered this video; check its bucket and key")
    out.print(timeline(bucket, key, states, found))
    return AS_ASKED


async def verify(
    *,
    config: ConfigFile,
    name: OnlyName = None,
    thorough: Annotated[bool, Parameter(negative="", help="sum up all detections anew, label by label")] = False,
) -> int:
    """Exit code 0 if the books are true, 1 if they are not."""
    async with open_store(load(config).settings) as database:
        backfill = await Registry(database).find(name) if name else None
        if name and backfill is None:
            raise unknown_backfill(name, config)
        videos, findings = await Reports(database).verify(backfill.id if backfill else None, is_thorough=thorough)
    for finding in findings:
        out.print(legible(finding))
    out.print(f"{counted(videos, 'video')} checked, {counted(len(findings), 'finding')}")
    return FINDING if findings else AS_ASKED


async def audit(*, config: ConfigFile, name: OnlyName = None, json: AsJson = False) -> int:
    """Exit code 0; also for a backfill that was purged."""
    async with open_store(load(config).settings) as database:
        found = await entries(database, name)
    out.out(msgspec.json.encode(found).decode() if json else decisions(found))
    return AS_ASKED

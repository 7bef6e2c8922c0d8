"""`doctor`: whether all is well before any money is spent; it changes nothing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from worker.cli.parameters import AsJson, ConfigFile
from worker.cli.terminal import AS_ASKED, FINDING, out
from worker.config import load
from worker.display.diagnosis import diagnosis
from worker.doctor.examination import examine
from worker.doctor.findings import FAULT

ToBeRead = Annotated[list[str], Parameter(help="s3://bucket/prefix or a manifest that is to be registered")]


async def doctor(sources: ToBeRead | None = None, /, *, config: ConfigFile, json: AsJson = False) -> int:
    """Exit code 0 if nothing is wrong, 1 if something has to be mended."""
    findings = await examine(load(config), config, sources or [])
    faults = sum(finding.verdict == FAULT for finding in findings)
    document = {"faults": faults, "findings": findings}
    out.out(msgspec.json.encode(document).decode() if json else diagnosis(findings))
    return FINDING if faults else AS_ASKED

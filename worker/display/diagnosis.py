"""What an examination found, a line a finding, each fault with what mends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from worker.display.figures import aligned, counted, legible
from worker.doctor.findings import FAULT, FINE, NOT_CHECKED, Finding


def diagnosis(findings: Sequence[Finding]) -> str:
    """Findings as a table, and how many there are of each kind."""
    rows = [row for finding in findings for row in _rows(finding)]
    return f"{aligned(rows)}\n{_summary(findings)}"


def _rows(finding: Finding) -> Iterator[list[str]]:
    verdict = finding.verdict.upper() if finding.verdict == FAULT else finding.verdict
    yield [verdict, legible(finding.subject), legible(finding.sentence)]
    if finding.remedy:
        yield ["", "", f"-> {legible(finding.remedy)}"]


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return f"{counted(counts[FAULT], 'fault')}, {counts[FINE]} fine, {counts[NOT_CHECKED]} not checked"

"""What an examination comes to: findings, each with its verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

FINE: Literal["fine"] = "fine"
FAULT: Literal["fault"] = "fault"
NOT_CHECKED: Literal["not checked"] = "not checked"


class Finding(Struct, frozen=True):
    """One sentence on a subject; a fault comes with what mends it."""

    subject: str
    verdict: Literal["fine", "fault", "not checked"]
    sentence: str
    remedy: str = ""


def fine(subject: str, sentence: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(subject, FINE, sentence)


def fault(subject: str, sentence: str, remedy: str) -> Finding:
    """Something has to be mended."""
    return Finding(subject, FAULT, sentence, remedy)


def not_checked(subject: str, reason: str) -> Finding:
    """Nothing can be said of it, which is no fault."""
    return Finding(subject, NOT_CHECKED, reason)


def complaint(subject: str, told: Exception) -> Finding:
    """A fault as another command would tell it: behind the last semicolon stands what to do."""
    sentence, semicolon, remedy = str(told).rpartition("; ")
    return fault(subject, sentence, remedy) if semicolon else fault(subject, remedy, "look at the log of its server")


def are_faulty(findings: Iterable[Finding]) -> bool:
    """Whether something has to be mended."""
    return any(finding.verdict == FAULT for finding in findings)

"""What goes to the terminal, or to whom the output is piped: results, complaints, exit codes."""

from __future__ import annotations

from rich.console import Console

from worker import log

AS_ASKED, FINDING, USAGE, STOPPED_EARLY = 0, 1, 2, 3
EXIT_CODES = {
    AS_ASKED: "as asked",
    FINDING: "a finding: some videos failed, rows of a manifest were bad, the books are wrong, the setup has faults",
    USAGE: "usage or configuration, in one sentence",
    STOPPED_EARLY: "stopped early with work left: a signal, the budget, a pause, no lane able to work, or a fault of "
    "the program",
}
"""What each of them tells."""

# Names and reasons come from outside: nothing in them is markup or an emoji, and no line is folded.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)


def complain(sentence: str) -> None:
    """Tell the operator what is wrong, on standard error and without secrets."""
    err.print(f"modworker: {log.redacted(sentence)}")

"""Commands and exit codes; the only package that prints.

Here stand the command line as a whole and its end. A command's module is imported when the command is asked for, so
that `modworker --help` and `config check` need not wait for the clients of AWS and of the database.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

import cyclopts
import structlog
from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from worker import log
from worker.cli.terminal import AS_ASKED, EXIT_CODES, STOPPED_EARLY, USAGE, complain
from worker.errors import ClusterError, ModworkerError

COMMANDS = {
    "work:backfill": "Register the sources, then work until every video of that backfill is final.",
    "work:enqueue": "Register the sources' videos and start nothing.",
    "plan:plan": "Tell how many, how long, how much, and which quota binds; start nothing.",
    "work:run": "Work on whatever is registered, until told to stop.",
    "look:status": "Show backfills, lanes, rates, spend, time left, and failures by reason.",
    "look:labels": "Show the labels of one video as a timeline.",
    "export:export": "Write the settled labels of backfills to a Parquet, CSV or JSON Lines file.",
    "look:verify": "Check the books: every video accounted for, counts equal to rows, tallies true.",
    "look:audit": "Show who decided what about money and rows, and when.",
    "doctor:doctor": "Check database, credentials, permissions, topic, queue, role, buckets and quotas; spend nothing.",
    "steer:pause": "Stop starting jobs of a backfill; what runs is finished.",
    "steer:resume": "Let a paused or cancelled backfill go on.",
    "steer:cancel": "Skip what is pending of a backfill; what runs is finished.",
    "redo:retry": "Try videos again that ended without labels; nothing is paid twice without --accept-repay.",
    "purge:purge": "Remove a backfill, and its labels, that is final or cancelled.",
    "steer:migrate": "Apply the migrations that the database lacks.",
    "service:serve": "Run the local moderation service alone.",
    "configuration:config": "Look at the configuration.",
}
"""Where a command is to be found below this package, and its line of help; in the order of the help."""

app = cyclopts.App(
    name="modworker",
    help="Moderate whole video archives with Amazon Rekognition Video; keep every label in PostgreSQL.",
    help_epilogue="\n".join(["Exit codes:\n", *(f"- {code}: {meaning}" for code, meaning in EXIT_CODES.items())]),
    version=partial(version, "modworker"),
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for number, (place, line) in enumerate(COMMANDS.items()):
    app.command(f"{__name__}.{place}", help=line, sort_key=number)


def main() -> None:
    """Run the command line and exit with its code."""
    log.configure(json_lines=not sys.stderr.isatty())
    try:
        sys.exit(exit_code())
    except Exception:  # noqa: BLE001 (logged in full, and told from a finding by its exit code)
        structlog.get_logger().exception("a fault of the program, not of yours; the same command goes on where it was")
        sys.exit(STOPPED_EARLY)


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line, by default that of the process, and give its exit code; mistakes are told."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(f"{_in_words(error)}\nSee `{' '.join(['modworker', *(error.command_chain or ())])} --help`.")
    except (ModworkerError, OSError) as error:
        return _told(error)
    except BaseExceptionGroup as group:
        return _told(_mendable(group))
    except KeyboardInterrupt:
        complain("interrupted")
        return STOPPED_EARLY
    else:
        return code if isinstance(code, int) else AS_ASKED
    return USAGE


def _in_words(error: CycloptsError) -> str:
    match error:
        case MissingArgumentError(argument=argument) if argument is not None:
            needed = " ".join(filter(None, (argument.name, argument.parameter.metavar)))
            return f"{' '.join(error.command_chain or ())} needs {needed}."
        case UnusedCliTokensError(unused_tokens=tokens) if tokens:
            return f"{tokens[0]!r} means nothing here."
        case _:
            return str(error)


def _about_file(error: OSError) -> str:
    """A file or folder of the operator's that cannot be used; a fault without one is the program's and goes on up."""
    if error.filename is None:
        raise error
    return f"{error.filename} cannot be used: {error.strerror}; check its path and permissions"


def _told(error: BaseException) -> int:
    """Complain of what an operator can mend, and give the exit code."""
    complain(_about_file(error) if isinstance(error, OSError) else str(error))
    return STOPPED_EARLY if isinstance(error, ClusterError) else USAGE


def _mendable(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The fault that an operator can mend; a group without one is a fault of the program and goes on up."""
    error: BaseException | None = group.subgroup((ModworkerError, OSError))
    if error is None:
        raise group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

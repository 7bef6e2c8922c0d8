"""What a fault plan may say, and how it is read: TOML from a file, JSON over HTTP, the same tables in both.

    seed = 7

    [[calls]]                                   # three in ten Starts are executed and their answers lost
    fault = "reset"
    operations = ["StartContentModeration"]
    executed = true
    share = 0.3

    [[notices]]
    fault = "lost"

Every table selects what it strikes by the members of `Selection` (`tenants` by those of `When`); without any it strikes
all.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from worker.errors import UsageError
from worker.local.protocol.documented_errors import OPERATIONS, error_of

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=0)]


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds are those of the service's clock since the plan was put in force; no accounts or regions named: all."""

    share: Share = 1.0
    from_seconds: Seconds = 0.0
    until_seconds: Seconds | None = None
    accounts: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a time that never comes."""
        if self.until_seconds is not None and self.until_seconds <= self.from_seconds:
            raise ValueError(
                f"until_seconds is {self.until_seconds:g}; write more than from_seconds, which is {self.from_seconds:g}"
            )


class Selection(When, frozen=True, kw_only=True):
    """What a fault strikes.

    Of the candidates of the accounts and regions named, within the time, `skip` go free, then a `share` of the others
    is struck, drawn from the plan's seed, until it has been `times`. `skip` and `times` count: which candidates they
    spare depends on the order in which those come; what `share` draws of jobs does not.
    """

    skip: Count = 0
    times: Count | None = None


class CallFault(Selection, frozen=True, kw_only=True, tag_field="fault"):
    """Strikes calls of the operations named, such as StartContentModeration, ReceiveMessage or HeadObject."""

    operations: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse operations that nobody can call."""
        super().__post_init__()
        if unknown := sorted(self.operations - OPERATIONS):
            raise ValueError(f"operations has {unknown[0]!r}; write some of {', '.join(sorted(OPERATIONS))}")

    @property
    def outcome(self) -> str:
        """What a struck call is counted as."""
        return str(self.__struct_config__.tag)


class Refused(CallFault, frozen=True, kw_only=True, tag="error"):
    """The call is answered with an error; its status and message are the documented ones unless given."""

    code: Annotated[str, Meta(min_length=1, max_length=128)]
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    message: str | None = None
    executed: bool = False

    def __post_init__(self) -> None:
        """Refuse a code of which nobody knows how it is answered."""
        super().__post_init__()
        if self.status is None and error_of(self.code, "") is None:
            raise ValueError(f"code is {self.code!r}, which is documented nowhere; write a status with it")

    @property
    def outcome(self) -> str:
        """The error's code."""
        return self.code


class Slow(CallFault, frozen=True, kw_only=True, tag="slow"):
    """The answer comes later by so many of the client's seconds; the work was done before."""

    seconds: Seconds


class Reset(CallFault, frozen=True, kw_only=True, tag="reset"):
    """The connection is reset instead of an answer: before the work was done, or after it."""

    executed: bool = False


class Truncated(CallFault, frozen=True, kw_only=True, tag="truncated"):
    """The work is done, half of the answer arrives."""


class Malformed(CallFault, frozen=True, kw_only=True, tag="malformed"):
    """The work is done, the answer is none that the protocol knows."""


class JobSelection(Selection, frozen=True, kw_only=True):
    """`keys` are patterns of object keys, such as `2024/*.mov`."""

    keys: tuple[str, ...] = ()


class NoticeFault(JobSelection, frozen=True, kw_only=True, tag_field="fault"):
    """Strikes the notices of jobs that have a NotificationChannel."""


class Lost(NoticeFault, frozen=True, kw_only=True, tag="lost"):
    """The notice is never sent; of the faults but `foreign` none else is tried on it."""


class Doubled(NoticeFault, frozen=True, kw_only=True, tag="doubled"):
    """The notice is sent `copies` times; the copies of several such faults add up."""

    copies: Annotated[int, Meta(ge=2, le=1000)] = 2


class Late(NoticeFault, frozen=True, kw_only=True, tag="late"):
    """The notice is sent so many seconds of the service's clock after the job has ended; several add up."""

    seconds: Seconds


class Early(NoticeFault, frozen=True, kw_only=True, tag="early"):
    """The job ends at once, and its Start is answered so many of the client's seconds after the notice was sent.

    The first one that strikes is the one, and `late` is not tried on that job. Where the analyst really looks, the job
    ends when it has looked, and the answer waits for that.
    """

    seconds: Seconds = 0.5


class Foreign(NoticeFault, frozen=True, kw_only=True, tag="foreign"):
    """A notice of a job that nobody here has started is sent along."""


class Unreadable(NoticeFault, frozen=True, kw_only=True, tag="unreadable"):
    """Half of the notice is sent; of that again half for every further such fault."""


class JobFault(JobSelection, frozen=True, kw_only=True):
    """The job ends FAILED whatever its video; its notice says `status`, which Get knows FAILED of only."""

    status: Literal["FAILED", "ERROR"] = "FAILED"
    message: str = "Internal server error"


class TokenFault(JobSelection, frozen=True, kw_only=True):
    """The NextToken that leads to the page of that number has expired, once for each job."""

    page: Annotated[int, Meta(ge=2)] = 2


class Tenant(When, frozen=True, kw_only=True):
    """Somebody else in the account who uses a share of its calls and of its running jobs."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All faults that are in force together. Of the calls' faults the first that strikes is the one; `slow` adds up."""

    seed: int = 1
    calls: tuple[Refused | Slow | Reset | Truncated | Malformed, ...] = ()
    notices: tuple[Lost | Doubled | Late | Early | Foreign | Unreadable, ...] = ()
    jobs: tuple[JobFault, ...] = ()
    tokens: tuple[TokenFault, ...] = ()
    tenants: tuple[Tenant, ...] = ()


def plan_of_file(path: Path) -> Plan:
    """Read a plan in TOML.

    Raises:
        UsageError: it says what is no fault.
        OSError: the file cannot be read.

    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Plan)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"fault plan {path}: {error}") from None

"""Parameters that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from worker.errors import UsageError
from worker.model import BACKFILL_NAME
from worker.pipeline.filters import Filters

if TYPE_CHECKING:  # help and the configuration need not wait for the clients that it would load
    from worker.restored import Word

_SIZE = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,6})?) ?(?P<unit>(?:[kMGT]i?)?)B?", re.IGNORECASE)
_BYTES = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
    "ti": 1024**4,
}


def _is_a_name(_: Any, name: str | None) -> None:
    if name is not None and not re.fullmatch(BACKFILL_NAME, name):
        raise ValueError("Write 1 to 200 characters, none of them a control character.")


def _are_no_options(_: Any, sources: list[str] | None) -> None:
    """`-` is standard input; whatever else begins so was meant as an option."""
    if unknown := [source for source in sources or () if source.startswith("-") and source != "-"]:
        raise UsageError(f"there is no option {unknown[0]}; see --help (a file of that name is ./{unknown[0]})")


def _is_no_option(_: Any, file: str) -> None:
    if file.startswith("-") and file != "-":
        raise ValueError(f"A file of that name is ./{file}.")


def _size_bytes(_: Any, tokens: Sequence[Token]) -> int:
    """A number of bytes, or of a unit: `500`, `1.5GB`, `10 MiB`."""
    match = _SIZE.fullmatch(tokens[0].value.strip())
    if match is None:
        raise ValueError("Write a size as 500, 20MB, 1.5GB or 10MiB.")
    return round(float(match["number"]) * _BYTES[match["unit"].lower()])


def _moment(_: Any, tokens: Sequence[Token]) -> datetime:
    """A time as ISO 8601 writes it; one that tells no zone is UTC, as `audit` and the views show times."""
    try:
        moment = datetime.fromisoformat(tokens[0].value)
    except ValueError:
        raise ValueError("Write a time as ISO 8601 has it, such as 2026-11-23T08:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


ConfigFile = Annotated[Path, Parameter(name="--config", metavar="FILE", help="the operators' config file (TOML)")]
Sources = Annotated[
    list[str],
    Parameter(
        help="s3://bucket/prefix, manifest.csv, manifest.jsonl, inventory:s3://bucket/…/manifest.json, a folder, or - "
        "(JSON Lines on standard input)",
        allow_leading_hyphen=True,
        validator=_are_no_options,
    ),
]
Name = Annotated[str | None, Parameter(help="of the backfill; default: made from the sources", validator=_is_a_name)]
OnlyName = Annotated[str | None, Parameter(name="--name", help="only this backfill", validator=_is_a_name)]
Priority = Annotated[
    int | None, Parameter(help="higher numbers go first", validator=Number(gte=-1_000_000, lte=1_000_000))
]
Budget = Annotated[
    float | None,
    Parameter(name="--budget-usd", help="no claim goes beyond it", validator=Number(gte=0, lte=10_000_000)),
]
Texts = list[str]
_REPEATED: dict[str, Any] = {"negative": "", "show_default": False}
Size = Annotated[int | None, Parameter(metavar="SIZE", converter=_size_bytes)]
Moment = Annotated[datetime | None, Parameter(converter=_moment)]
Since = Annotated[Moment, Parameter(help="only videos that settled then or later (ISO 8601, UTC if it names no zone)")]


@Parameter(name="*")
@dataclass(frozen=True)
class Choosing:
    """Options that choose among the objects of the sources."""

    match: Annotated[
        Texts, Parameter(**_REPEATED, help="only keys of this pattern, in which * is any text; may be given again")
    ] = field(default_factory=list)
    exclude: Annotated[Texts, Parameter(**_REPEATED, help="no keys of this pattern; may be given again")] = field(
        default_factory=list
    )
    min_size: Annotated[Size, Parameter(help="only objects of so many bytes or more, such as 20MB")] = None
    max_size: Annotated[Size, Parameter(help="only objects of so many bytes or fewer")] = None
    since: Annotated[Moment, Parameter(help="only objects that were last changed then or later (ISO 8601)")] = None
    until: Annotated[Moment, Parameter(help="only objects that were last changed before then")] = None
    storage_class: Annotated[
        Texts, Parameter(**_REPEATED, help="only objects of this class, such as STANDARD; may be given again")
    ] = field(default_factory=list)

    def filters(self) -> Filters:
        """What they say together.

        Raises:
            UsageError: if they leave nothing.

        """
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise UsageError("--min-size is more than --max-size: there are no such objects")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise UsageError("--since is not before --until: there are no such objects")
        return Filters(
            match=self.match,
            exclude=self.exclude,
            min_size_bytes=self.min_size,
            max_size_bytes=self.max_size,
            since=self.since,
            until=self.until,
            storage_classes=[name.upper() for name in self.storage_class],
        )


EVERYTHING = Choosing()
BackfillName = Annotated[str, Parameter(help="the backfill's name")]
ExportFile = Annotated[
    str,
    Parameter(
        metavar="FILE",
        help="FILE.parquet, FILE.csv, FILE.jsonl, or - for JSON Lines on standard output",
        allow_leading_hyphen=True,
        validator=_is_no_option,
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="as a JSON document")]
NotRestored = Annotated[
    bool, Parameter(negative="", help="nothing worked on this old database's videos since it was last used")
]
Restored = Annotated[
    bool, Parameter(negative="", help="this database is an old backup: what may have been bought since is set aside")
]


def word_on_the_past(*, not_restored: bool, restored: bool) -> Word | None:
    """What the two options say together.

    Raises:
        UsageError: if they say both.

    """
    if not_restored and restored:
        raise UsageError("--restored and --not-restored exclude each other")
    return "not restored" if not_restored else "restored" if restored else None


def unknown_backfill(name: str, config: Path) -> UsageError:
    """What to say of a name that no backfill has."""
    return UsageError(f"there is no backfill {name!r}; `modworker status --config {config}` lists them")

"""Numbers, names and columns as people read them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

_LISTED_COLUMNS = 70  # leaves room for an indent within 80
_NO_BREAK = "\u00a0"


def counted(number: int, thing: str) -> str:
    """A count with its thing: `1 video`, `2,000 videos`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def tallied(counts: Mapping[str, int]) -> list[str]:
    """What there is of each kind, as `10 done, 1 failed`, on as many lines as that takes."""
    text = ", ".join(f"{count:,}{_NO_BREAK}{kind}" for kind, count in counts.items() if count)
    return [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(text, _LISTED_COLUMNS)]


def usd(amount: float | None) -> str:
    """US dollars to the cent; `none` for no limit."""
    return "none" if amount is None else f"${amount:,.2f}"


def duration(seconds: float | None) -> str:
    """The two leading units, which is all that an estimate is good for."""
    if seconds is None:
        return "not known yet"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def clock(milliseconds: int | None) -> str:
    """A time within a video, `h:mm:ss.mmm`."""
    if milliseconds is None:
        return "-:--:--.---"
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def legible(text: str) -> str:
    """One line that cannot steer a terminal: what does not print is written as Python would."""
    return "".join(symbol if symbol.isprintable() else ascii(symbol)[1:-1] for symbol in text)


def shortened(text: str, most: int) -> str:
    """The text, cut to so many symbols."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = zip(range(len(row)), row, widths, strict=True)
        return "  ".join(f"{cell:>{width}}" if i in right else f"{cell:<{width}}" for i, cell, width in cells).rstrip()

    return "\n".join(map(line, rows))

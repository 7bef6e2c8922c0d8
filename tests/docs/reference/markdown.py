"""Markdown tables whose cells may hold any text, and what pages say in the same words."""

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")
_MARKS = re.compile(r"([*|<])")


def table(*rows: Sequence[str]) -> str:
    """A table of rows of Markdown, the first of which is its head."""
    head, *body = (f"| {' | '.join(map(_cell, row))} |" for row in rows)
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])


def code(text: str) -> str:
    """Text as it is typed or read."""
    return f"`{text}`"


def either(texts: Iterable[str]) -> str:
    """One of several."""
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last


def bounds(*, at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> str:
    """Where a number must lie; nothing if it may lie anywhere."""
    if at_least is not None and at_most is not None:
        return f"{at_least:,} to {at_most:,}"
    named = {"at least": at_least, "above": above, "at most": at_most}
    return ", ".join(f"{word} {bound:,}" for word, bound in named.items() if bound is not None)


def _cell(text: str) -> str:
    """One line; what Markdown would take for a mark is escaped, in code spans only what would end the cell."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part.replace("|", r"\|") if part.startswith("`") else _MARKS.sub(r"\\\1", part) for part in parts)

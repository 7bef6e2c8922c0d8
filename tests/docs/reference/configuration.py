"""The keys of the config file, as the schema of its models has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.docs.reference.markdown import bounds, code, either, table
from worker.config import schema
from worker.config.mistakes import PREFIX
from worker.config.settings import PATTERN_ADVICE, Keys

ANY_NAME = "NAME"
HEAD = ("key", "type", "default", "bounds", "meaning", "variable")
SCHEMA = schema()
FORMATS = {"password": "secret text", "path": "path"}
KINDS = {"boolean": "`true` or `false`", "integer": "whole number", "number": "number", "string": "text"}

Schema = dict[str, Any]


def configuration() -> Iterator[str]:
    """Every table with its keys, those without a table first."""
    (lane,) = SCHEMA["properties"]["lanes"]["patternProperties"]
    yield (
        "A variable of the environment wins over the file. Keys and variables that are not here are errors. "
        f"{code(ANY_NAME)} stands for a lane, of which there may be any number; {PATTERN_ADVICE[lane]}."
    )
    yield from _section((), SCHEMA)


def _section(place: Keys, described: Schema) -> Iterator[str]:
    """The keys of a table, then the tables below it."""
    if place:
        yield f"## [{'.'.join(place)}]"
        yield described["description"]
    below = {key: _resolved(value) for key, value in described["properties"].items()}
    needed = described.get("required", ())
    rows = [_row((*place, key), value, needed=key in needed) for key, value in below.items() if not _tables(value)]
    if rows:
        yield table(HEAD, *rows)
    for key, value in below.items():
        for names, one in _tables(value):
            yield from _section((*place, key, *names), one)


def _resolved(described: Schema) -> Schema:
    """What is described elsewhere under a name, here."""
    return SCHEMA["$defs"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described


def _tables(described: Schema) -> list[tuple[Keys, Schema]]:
    """The table that a key stands for, or that any name below it does; none for a plain value."""
    if "properties" in described:
        return [((), described)]
    return [((ANY_NAME,), _resolved(one)) for one in described.get("patternProperties", {}).values()]


def _row(place: Keys, described: Schema, *, needed: bool) -> tuple[str, ...]:
    # What may be left out is described as that or nothing: its kind and its bounds are those of the first.
    kinds = [kind for kind in described.get("anyOf", [described]) if kind["type"] != "null"]
    default = "required" if needed else _value(described["default"])
    variable = PREFIX + "__".join(place).upper()
    kind = " or ".join(map(_kind, kinds))
    return code(place[-1]), kind, default, "; ".join(_bounds(kinds[0])), _meaning(described), code(variable)


def _kind(described: Schema) -> str:
    if "enum" in described:
        return either(map(_value, described["enum"]))
    if described["type"] == "array":
        return f"list of {_kind(described['items'])}s"
    return FORMATS.get(described.get("format", ""), KINDS[described["type"]])


def _value(value: object) -> str:
    """As TOML writes it, which has nothing for nothing."""
    return "" if value is None else code(json.dumps(value, ensure_ascii=False))


def _bounds(described: Schema) -> Iterator[str]:
    limits = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum"}
    yield from filter(None, [bounds(**{word: described.get(limit) for word, limit in limits.items()})])
    if "maxLength" in described:
        yield f"at most {described['maxLength']} characters"
    if "pattern" in described:
        yield PATTERN_ADVICE[described["pattern"]].removeprefix("write ")


def _meaning(described: Schema) -> str:
    examples = [f"such as {_value(example)}" for example in described.get("examples", [])]
    return "; ".join([described["description"], *examples])

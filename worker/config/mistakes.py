"""One plain sentence for each mistake: where it is, what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from worker.config.settings import PATTERN_ADVICE, Keys, Settings
from worker.errors import Mistake

PREFIX = "MODWORKER_"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_QUOTE = 80  # characters of a wrong value
_MAY_HOLD_A_SECRET = re.compile(r"://\S*@|password|secret|token|://.*\?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Origin:
    """Which variable of the environment set which keys."""

    variables: Mapping[Keys, str]

    def places(self, keys: Keys) -> list[str]:
        """What to look for: the variable that set the keys, or those that set keys below, else the path in the file."""
        if keys in self.variables:
            return [self.variables[keys]]
        below = [name for path, name in self.variables.items() if path[: len(keys)] == keys]
        return below or [".".join(map(_key, keys))]


def mistakes_of(finding: ErrorDetails, origin: Origin) -> Iterator[Mistake]:
    """Rewrite a finding of pydantic; no secret is ever part of it."""
    keys = tuple(key for key in finding["loc"] if isinstance(key, str) and key != "[key]")  # no place in a list
    for place in origin.places(keys):
        yield Mistake(place, _sentence(finding, keys, variable=place if place in origin.variables.values() else None))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _sentence(finding: ErrorDetails, keys: Keys, *, variable: str | None) -> str:
    match finding["type"]:
        case "extra_forbidden":
            return f"means nothing; {_nearest(keys, variable)}"
        case "missing":
            return f"is missing; write it{_example(keys)}"
        case "model_type" | "dict_type":
            return f"{_kind(finding['input'])}; {_table_advice(keys, variable)}"
        case kind if kind in _DEMANDS:
            return f"{_seen(keys, finding['input'])}; {_DEMANDS[kind](finding.get('ctx', {}))}"
        case _:
            return f"{_seen(keys, finding['input'])}; write another value"


def _number(kind: str, bound: float) -> str:
    whole = isinstance(bound, int)
    text = str(int(bound)) if bound == int(bound) else str(bound)
    return f"write a {'whole ' if whole else ''}number {kind} {text}"


def _say(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: text


_WHOLE_NUMBER = _say("write a whole number")
_NUMBER = _say("write a number")
_TRUTH = _say("write true or false")
_TEXT = _say("write text in quotes")
_DEMANDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": _TEXT,
    "string_unicode": _say("write UTF-8 text"),
    "path_type": _TEXT,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "greater_than": lambda context: _number("above", context["gt"]),
    "greater_than_equal": lambda context: _number("of at least", context["ge"]),
    "less_than": lambda context: _number("below", context["lt"]),
    "less_than_equal": lambda context: _number("of at most", context["le"]),
    "literal_error": lambda context: f"write {context['expected'].replace(chr(39), chr(34))}",
    "string_too_long": lambda context: f"write at most {context['max_length']} characters",
    "string_pattern_mismatch": lambda context: PATTERN_ADVICE[context["pattern"]],
    "tuple_type": _say('write a list of texts, such as ["*.mp4"]'),
    "value_error": lambda context: str(context["error"]),
}
"""Type of a finding of pydantic -> what to write instead."""


def _seen(keys: Keys, given: Any) -> str:
    if given == "":
        return "is empty"
    if _holds_a_secret(_field_at(keys)) or (isinstance(given, str) and _MAY_HOLD_A_SECRET.search(given)):
        return "is wrong"
    return f"is {_quoted(given)}" if isinstance(given, bool | int | float | str) else _kind(given)


def _holds_a_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _quoted(given: bool | float | str) -> str:
    text = json.dumps(given, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _kind(given: Any) -> str:
    names = {dict: "a table", list: "a list", bool: "a truth value", int: "a number", float: "a number", str: "text"}
    return f"is {names.get(type(given), 'a date or time')}"


def _table_advice(keys: Keys, variable: str | None) -> str:
    table = ("lanes", "main") if keys == ("lanes",) else keys
    if variable is None:
        return f"write a table, such as [{'.'.join(table)}]"
    return f"set the keys of this table, such as {PREFIX}{'__'.join((*table, next(iter(_fields_of(table))))).upper()}"


def _nearest(keys: Keys, variable: str | None) -> str:
    known = list(_fields_of(keys[:-1]))
    word = keys[-1]
    begun = [key for key in known if word and key.startswith(word)]  # a unit is forgotten more often than misspelt
    near = begun or difflib.get_close_matches(word, known, n=1)
    if not near:
        return f"known here: {', '.join(known)}"
    return f"did you mean {_respelled(variable, len(keys) - 1, near[0]) if variable else near[0]}?"


def _respelled(variable: str, place: int, key: str) -> str:
    parts = variable[len(PREFIX) :].split("__")
    parts[place] = key.upper()
    return PREFIX + "__".join(parts)


def _example(keys: Keys) -> str:
    examples = _field_at(keys).examples
    return f', such as {keys[-1]} = "{examples[0]}"' if examples else ""


def _field_at(keys: Keys) -> FieldInfo:
    """The field of these keys; that of all lanes for a lane's name."""
    return _fields_of(keys[:-1]).get(keys[-1], Settings.model_fields["lanes"])


def _fields_of(table: Keys) -> dict[str, FieldInfo]:
    """The fields of a table; none for the table of lanes, whose keys are free."""
    kind: Any = Settings
    for key in table:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[key].annotation
    return {} if get_origin(kind) is dict else kind.model_fields

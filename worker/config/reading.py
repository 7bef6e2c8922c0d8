"""File and environment -> settings; every mistake of both is reported at once.

The environment wins over the file, the file over the defaults. Unknown keys and variables are mistakes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from worker.config.between_keys import mistakes_between_keys
from worker.config.mistakes import PREFIX, Origin, mistakes_of
from worker.config.settings import Keys, Settings
from worker.errors import ConfigError, Mistake

_LARGEST_FILE_BYTES = 1_048_576  # a thousand lanes take a third of it


class Loaded(BaseModel):
    """Settings together with the source of each value that is not a default: path -> file or variable."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    sources: dict[str, str]


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read the file and the variables `MODWORKER_<TABLE>__<KEY>`, in any case, such as MODWORKER_LANES__MAIN__REGION.

    A variable of a lane that the file lacks makes one, named in lower case. Without a file there need be no lane.

    Raises:
        ConfigError: with every mistake found.

    """
    tree = {} if path is None else _read_file(path)
    source = "the environment" if path is None else str(path)
    variables = _overlay(tree, _read_environment(environ, tree.get("lanes")))
    origin = Origin(variables)
    settings, findings = _validate(tree)
    faulty = {tuple(str(key) for key in finding["loc"]) for finding in findings}
    mistakes = [mistake for finding in findings for mistake in mistakes_of(finding, origin)]
    for keys, advice in mistakes_between_keys(tree, faulty, needs_lane=path is not None):
        mistakes += [Mistake(place, advice) for place in origin.places(keys)]
    if settings is None or mistakes:
        raise ConfigError(source, mistakes)
    sources = {".".join(keys): variables.get(keys, source) for keys, _ in leaves(tree)}
    return Loaded(settings=settings, sources=sources)


def leaves(tree: Mapping[str, Any], above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """(keys, value) of every value below the tables; an empty table counts as a value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _read_file(path: Path) -> dict[str, Any]:
    def unusable(advice: str) -> ConfigError:
        return ConfigError(str(path), [Mistake("file", advice)])

    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise unusable(f"cannot be read ({reason}); name a config file with --config") from None
    if len(content) > _LARGEST_FILE_BYTES:
        raise unusable("is larger than 1 MiB; name a config file with --config")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        raise unusable(f"is not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    except RecursionError:
        raise unusable("is nested too deeply; name a config file with --config") from None
    except ValueError as error:  # besides TOMLDecodeError: numbers of thousands of digits
        raise unusable(f"is not TOML: {error}") from None


def _read_environment(environ: Mapping[str, str], lanes: Any) -> dict[Keys, tuple[str, str]]:
    """The keys that a variable names -> (variable, text)."""
    spelling = {name.lower(): name for name in lanes} if isinstance(lanes, dict) else {}
    found: dict[Keys, tuple[str, str]] = {}
    for name, text in environ.items():
        if not name.upper().startswith(PREFIX):
            continue
        keys = name[len(PREFIX) :].lower().split("__")
        if keys[0] == "lanes" and len(keys) > 1:
            keys[1] = spelling.get(keys[1], keys[1])
        found[tuple(keys)] = (name, text)
    return found


def _overlay(tree: dict[str, Any], found: Mapping[Keys, tuple[str, str]]) -> dict[Keys, str]:
    """Put the environment's texts over the file's values; gives the variable of each text that had a place."""
    # Shortest first: a text where a table belongs must come to light, so it stands in the way of keys below it.
    shortest_first = sorted(found.items(), key=lambda item: len(item[0]))
    return {keys: name for keys, (name, text) in shortest_first if _put(tree, keys, text)}


def _put(tree: dict[str, Any], keys: Keys, text: str) -> bool:
    *tables, last = keys
    for key in tables:
        below: Any = tree.setdefault(key, {})
        if not isinstance(below, dict):
            return False
        tree = below
    tree[last] = text
    return True


def _validate(tree: Mapping[str, Any]) -> tuple[Settings | None, list[ErrorDetails]]:
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, error.errors()

"""The commands, as the command line knows them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import get_args, get_origin

import cyclopts
from cyclopts import Argument
from cyclopts.help import format_usage
from cyclopts.validators import Number

from tests.docs.reference.markdown import bounds, code, either, table
from worker.cli import app
from worker.cli.terminal import EXIT_CODES

KINDS = {bool: "switch", str: "text", int: "whole number", float: "number", Path: "file", datetime: "time"}
HEAD = ("argument or option", "type", "default", "meaning")

Chain = tuple[str, ...]


def commands() -> Iterator[str]:
    """Every command in the order of the help, then the exit codes."""
    for chain, command in _below(app):
        yield f"## modworker {' '.join(chain)}"
        yield f"```text\n{str(format_usage(app, chain)).strip()}\n```"
        yield from _description(command)
        if arguments := _arguments(command):
            yield table(HEAD, *map(_row, arguments))
    yield "## Exit codes"
    yield table(("code", "meaning"), *((str(number), meaning) for number, meaning in EXIT_CODES.items()))


def _below(group: cyclopts.App, above: Chain = ()) -> Iterator[tuple[Chain, cyclopts.App]]:
    for name in group:
        if not name.startswith("-"):
            yield (*above, name), group[name]
            yield from _below(group[name], (*above, name))


def _description(command: cyclopts.App) -> Iterator[str]:
    """The line of help, then what the command's function says of itself, if that is another text."""
    told = inspect.getdoc(command.default_command) if command.default_command else None
    paragraphs = [command.help, *(told or "").split("\n\n")]
    yield from dict.fromkeys(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph)


def _arguments(command: cyclopts.App) -> list[Argument]:
    """Those that are typed; without what only holds several of them together."""
    if command.default_command is None:
        return []
    return [argument for argument in command.assemble_argument_collection() if argument.show]


def _row(argument: Argument) -> tuple[str, str, str, str]:
    return code(argument.name), ", ".join(_kind(argument)), _default(argument), argument.parameter.help or ""


def _kind(argument: Argument) -> Iterator[str]:
    """What is written, how often, and within which bounds."""
    hint = argument.resolved_hint
    choices, name = argument.get_choices(), argument.parameter.metavar
    one = get_args(hint)[0] if get_origin(hint) is list else hint
    yield either(map(code, choices)) if choices else name.lower() if name else KINDS[one]
    if one is not hint:
        yield "one or more" if argument.required else "any number"
    for check in argument.parameter.validator:
        if isinstance(check, Number):
            yield bounds(at_least=check.gte, above=check.gt, at_most=check.lte)


def _default(argument: Argument) -> str:
    if argument.required:
        return "required"
    default = argument.field_info.default
    return "off" if default is False else code(str(default)) if default else ""

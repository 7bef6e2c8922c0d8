"""`config check`, `config show` and `config schema`."""

from __future__ import annotations

import json

import cyclopts

from worker.cli.parameters import ConfigFile
from worker.cli.terminal import AS_ASKED, FINDING, complain, out
from worker.config import load, schema, show
from worker.display.figures import aligned, legible
from worker.errors import ConfigError

config = cyclopts.App(name="config")


@config.command(sort_key=0)
def check(*, config: ConfigFile) -> int:
    """Report every mistake of a config file at once.

    Exit code 0 if there is none, 1 if there are some.
    """
    try:
        load(config)
    except ConfigError as error:
        complain(str(error))
        return FINDING
    out.print(f"{config} is fine")
    return AS_ASKED


@config.command(name="show", sort_key=1)
def show_settings(*, config: ConfigFile) -> int:
    """Print the effective settings with their sources; secrets are masked."""
    rows = [[legible(cell) for cell in row] for row in show(load(config))]
    out.print(aligned([["setting", "value", "from"], *rows]))
    return AS_ASKED


@config.command(name="schema", sort_key=2)
def print_schema() -> int:
    """Print the JSON Schema of the config file."""
    out.out(json.dumps(schema(), indent=2, ensure_ascii=False))
    return AS_ASKED

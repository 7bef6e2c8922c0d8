"""The command line as a whole: its commands, and what it costs to ask for help."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from worker.cli import COMMANDS, app, exit_code
from worker.cli.terminal import EXIT_CODES

HEAVY = ("aioboto3", "aiohttp", "asyncpg", "botocore", "worker.app", "worker.local")


@pytest.mark.parametrize("place", COMMANDS)
def test_every_command_is_where_it_is_said_to_be(place: str, capsys: pytest.CaptureFixture[str]):
    """Each command can be imported, and tells its line of help and its parameters."""
    name = place.rpartition(":")[2]
    assert exit_code([name, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"Usage: modworker {name}" in told
    assert COMMANDS[place] in told


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    """`modworker` alone prints what there is, in the order of an operator's work."""
    assert exit_code([]) == 0
    told = re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert told == [place.rpartition(":")[2] for place in COMMANDS]


@pytest.mark.parametrize("command", [[], ["verify"], ["config", "check"]])
def test_help_tells_the_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]):
    """Of the whole and of each command."""
    assert exit_code([*command, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert [code for code, meaning in EXIT_CODES.items() if f"{code}: {meaning}" not in told] == []


@pytest.mark.parametrize("arguments", [["--help"], ["config", "schema"]])
def test_light_commands_do_not_load_the_clients(arguments: list[str]):
    """Help and the configuration come at once: neither AWS's nor the database's client is imported for them."""
    program = f"""
import sys
from worker.cli import exit_code
assert exit_code({arguments!r}) == 0
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_version_is_told(capsys: pytest.CaptureFixture[str]):
    """`--version` prints a version and nothing else."""
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("modworker")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--min-size", "many"], "Write a size as 500, 20MB, 1.5GB or 10MiB."),
        (["--max-size", "-1"], "Write a size as 500, 20MB, 1.5GB or 10MiB."),
        (["--min-size", "1GB", "--max-size", "1MB"], "--min-size is more than --max-size: there are no such objects"),
        (["--since", "yesterday"], "Write a time as ISO 8601 has it"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "--since is not before --until"),
    ],
)
def test_filters_that_mean_nothing_are_told(typed: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    """With what to write, before anything is looked at."""
    for command in ("enqueue", "backfill"):
        assert exit_code([command, "s3://archive/", *typed, "--config", "nowhere.toml"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("7B", 7), ("2k", 2000), ("20MB", 20_000_000), ("1.5 gb", 1_500_000_000), ("10MiB", 10 * 2**20)],
)
def test_sizes_have_units(text: str, size_bytes: int):
    """Of ten or of two, in letters of either kind."""
    command, bound, _ = app.parse_args(["enqueue", "s3://archive/", "--min-size", text, "--config", "x.toml"])
    assert bound.arguments["choosing"].filters().min_size_bytes == size_bytes
    assert command.__name__ == "enqueue"

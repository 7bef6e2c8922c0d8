"""Where an operator types: command lines that are carried out in the tests' own process, to spare a start each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.site import Sections, toml
from worker.cli import exit_code


class Desk:
    """A folder with a config file; `out` and `err` are what the last command line printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], sections: Sections) -> None:
        self.folder = folder
        self.sections = sections
        self.config_file = folder / "worker.toml"
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *arguments: str) -> int:
        """Carry out `modworker ARGUMENTS --config …`."""
        self.config_file.write_text(toml(self.sections))
        return self.run_as_typed(*arguments, "--config", str(self.config_file))

    def run_as_typed(self, *arguments: str) -> int:
        """Carry out a command line; whatever happens, no stack trace is shown."""
        code = exit_code(arguments)
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    @property
    def complaint(self) -> str:
        """The one sentence that was said on standard error, without the hint at --help."""
        sentence, *hint = self.err.splitlines()
        assert sentence.startswith("modworker: ")
        assert all(line.startswith("See `modworker") for line in hint), self.err
        return sentence.removeprefix("modworker: ")

    def mistakes(self) -> list[str]:
        """The mistakes of the configuration, each on a line of its own."""
        first, *lines = self.err.splitlines()
        assert first.startswith(f"modworker: {self.config_file} has {len(lines)} mistake")
        return [line.strip() for line in lines]

    def file(self, name: str, content: str | bytes) -> str:
        """Write a file of the operator's."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

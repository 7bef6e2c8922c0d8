"""The documents' commands, as somebody types them who follows a page from its beginning to its end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 200.0
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    """Every document, by its path from the root."""
    paths = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("README.md")]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def blocks(page: str) -> list[str]:
    """The commands of a page, block by block."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


class Shell:
    """A folder and an environment; `replaced` are the names on the pages that are others here, as patterns."""

    def __init__(self, folder: Path, environment: Mapping[str, str], replaced: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        self._replaced = replaced

    def follow(self, page: str) -> str:
        """Type all that a page says."""
        return self.run("".join(blocks(page)))

    def run(self, commands: str) -> str:
        """Type these commands in a shell that stops at the first failure; gives what they printed."""
        for pattern, text in self._replaced.items():
            commands = re.sub(pattern, text, commands)
        ended = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

"""All the pages, each with its sentence on top."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.docs.reference.commands import commands
from tests.docs.reference.configuration import configuration
from tests.docs.reference.metrics import metrics
from tests.docs.reference.views import views

FOLDER = Path(__file__).parents[3] / "docs" / "reference"
COMMAND = "python -m tests.docs.reference"


async def pages(database_url: str) -> dict[str, str]:
    """Name of the file -> text of each page; the views are those of a migrated database."""
    return {
        "commands.md": _page("Commands", "Every command with its arguments and options", commands()),
        "configuration.md": _page("Configuration", "Every key of the config file", configuration()),
        "metrics.md": _page("Metrics", "Every metric that a worker shows to Prometheus", metrics()),
        "views.md": _page("Views", "Every view for readers with its columns", await views(database_url)),
    }


def _page(title: str, about: str, sections: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", f"{about}, written from the code by `{COMMAND}`.", *sections]) + "\n"

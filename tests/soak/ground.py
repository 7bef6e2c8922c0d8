"""Where a long run takes place: a PostgreSQL of its own, a folder, and sites in it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.postgres import KINDS, fresh_database, migrated, template, throwaway_server
from tests.system import site as system_site
from tests.system.site import Site, jobs_faster
from tests.system.truth import rows_in

ARCHIVE = "s3://synthetic-archive/"


class Ground:
    """Makes sites; every process that was started in one ends with the ground."""

    def __init__(self, folder: Path, server_url: str, template_name: str, sites: ExitStack) -> None:
        self.folder = folder
        self.server_url = server_url
        self._template = template_name
        self._sites = sites

    async def database(self) -> str:
        """The URL of a fresh, migrated database."""
        return await fresh_database(self.server_url, self._template)

    async def site(self, name: str, *, database_url: str | None = None, data_dir: Path | None = None) -> Site:
        """A site with a database of its own unless one is given."""
        folder = self.folder / name
        folder.mkdir()
        return self._sites.enter_context(Site(folder, database_url or await self.database(), data_dir))


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """A PostgreSQL that keeps its promises less than the disk's, and a folder; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="modworker-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with throwaway_server(KINDS[0], folder) as server:
            migrated_template = await template(server, "migrated", migrated)
            with ExitStack() as sites:
                yield Ground(folder, server, migrated_template, sites)


def lanes(site: Site, names: Mapping[str, str], **changes: Any) -> None:
    """Give the site these lanes, by name and region, in place of its own."""
    for section in [section for section in site.sections if section.startswith("lanes.")]:
        del site.sections[section]
    site.configure(**{f"lanes__{name}": site.local_lane(region, **changes) for name, region in names.items()})


def until(condition: Callable[[], Any], *, within_seconds: float = 180.0) -> Any:
    """Poll a condition until it is true; the machine may have other things to do."""
    return system_site.until(condition, within_seconds=within_seconds)


async def count(site: Site, condition: str) -> int:
    """Videos of the site of which the condition is true."""
    ((videos,),) = await rows_in(site.database_url, f"select count(*) from video where {condition}")
    return int(videos)


def told(text: str) -> None:
    """How far it is, for whoever waits."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def printed(program: str, began_at: float, **figures: Any) -> int:
    """Print the figures; the exit code is 1 if anything is wrong."""
    seconds = round(time.monotonic() - began_at, 1)
    sys.stdout.write(f"{json.dumps({'program': program, 'seconds': seconds, **figures})}\n")
    sys.stdout.flush()
    return 1 if figures.get("wrong") else 0


__all__ = ["ARCHIVE", "Ground", "count", "ground", "jobs_faster", "lanes", "printed", "told", "until"]

"""Writes the pages, with the help of a PostgreSQL that is thrown away."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.docs.reference.pages import FOLDER, pages
from tests.postgres import KINDS, fresh_database, migrated, throwaway_server


async def _made() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        async with throwaway_server(KINDS[0], Path(folder)) as server:
            url = await fresh_database(server)
            await migrated(url)
            return await pages(url)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in asyncio.run(_made()).items():
        (FOLDER / name).write_text(text, encoding="utf-8")

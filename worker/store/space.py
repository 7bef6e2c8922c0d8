"""Room on the disk of the embedded database."""

from __future__ import annotations

import shutil

from worker.config import Database


def lack_of_space(settings: Database) -> str | None:
    """Why nothing more should be claimed; None while there is room."""
    free_gb = shutil.disk_usage(settings.data_dir).free / 1e9
    if free_gb >= settings.min_free_gb:
        return None
    return f"{free_gb:.1f} GB are free, database.min_free_gb is {settings.min_free_gb:g}"

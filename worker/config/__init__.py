"""TOML and `MODWORKER_…__…` environment variables -> validated settings; every mistake is reported at once."""

from worker.config.changes import Changes, changes_between
from worker.config.reading import Loaded, load
from worker.config.settings import (
    EMBEDDED,
    LOCAL,
    Aws,
    Database,
    Endpoints,
    Lane,
    Local,
    LocalEndpoints,
    Moderation,
    Settings,
    Traces,
    Worker,
    is_loopback,
    split_address,
)
from worker.config.shown import masked_url, reads_cleanly, schema, secrets, show

__all__ = [
    "EMBEDDED",
    "LOCAL",
    "Aws",
    "Changes",
    "Database",
    "Endpoints",
    "Lane",
    "Loaded",
    "Local",
    "LocalEndpoints",
    "Moderation",
    "Settings",
    "Traces",
    "Worker",
    "changes_between",
    "is_loopback",
    "load",
    "masked_url",
    "reads_cleanly",
    "schema",
    "secrets",
    "show",
    "split_address",
]

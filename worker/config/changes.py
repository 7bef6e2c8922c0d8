"""What another configuration changes in a process that runs: some of it at once, the rest at the next start."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from pydantic import BaseModel

from worker.config.settings import Lane, Settings

QUOTAS = frozenset({"start_per_second", "get_per_second", "concurrent_jobs"})


class Changes(Struct, frozen=True):
    """Names of lanes and paths of keys, each in order; `lanes` are those that are in force then."""

    lanes: dict[str, Lane]
    adjusted: list[str]  # of these only quotas are others
    reopened: list[str]  # these are given up and taken anew: their clients, topic or queue are others
    added: list[str]
    removed: list[str]
    later: list[str]  # what holds from the next start on


def changes_between(old: Settings, new: Settings) -> Changes:
    """What is another one in `new`; lanes of the local service come and go with a start only, as it does itself."""
    kept = old.lanes.keys() & new.lanes.keys()
    differing = {name: set(_differing(old.lanes[name], new.lanes[name])) for name in sorted(kept)}
    others = {name for name, keys in differing.items() if keys - QUOTAS or (keys and new.lanes[name].quotas == "auto")}
    added, removed = new.lanes.keys() - kept, old.lanes.keys() - kept
    local = {name for name in others | added | removed if _is_local(name, old) or _is_local(name, new)}
    stay = {name: old.lanes[name] for name in sorted(local - added)}
    return Changes(
        lanes={name: lane for name, lane in new.lanes.items() if name not in local} | stay,
        adjusted=[name for name, keys in differing.items() if keys and name not in others],
        reopened=sorted(others - local),
        added=sorted(added - local),
        removed=sorted(removed - local),
        later=[*_later(old, new), *(f"lanes.{name}" for name in sorted(local))],
    )


def _differing(old: Lane, new: Lane) -> Iterator[str]:
    return (key for key in Lane.model_fields if getattr(old, key) != getattr(new, key))


def _is_local(name: str, settings: Settings) -> bool:
    lane = settings.lanes.get(name)
    return lane is not None and lane.is_local


def _later(old: BaseModel, new: BaseModel, above: str = "") -> list[str]:
    """Paths of all differing keys but those of lanes."""
    paths = []
    for key in type(old).model_fields:
        before, after = getattr(old, key), getattr(new, key)
        if f"{above}{key}" == "lanes" or before == after:
            continue
        if isinstance(before, BaseModel):
            paths += _later(before, after, f"{above}{key}.")
        else:
            paths.append(f"{above}{key}")
    return paths

"""The lanes beside each other: what the database knows of them, and whether two of them would use one quota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.config import Lane as LaneSettings
from worker.doctor.examined import subject
from worker.doctor.findings import Finding, fault

Place = tuple[str, str]
"""(account, region): what AWS counts quotas by."""


def judge(
    configured: Mapping[str, LaneSettings], accounts: Mapping[str, str], known: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """`accounts` are of the lanes that AWS has let in, `known` are the lanes of the database."""
    rows = {row["name"]: row for row in known}
    places: dict[Place, str] = {
        (row["account_id"], row["region"]): name
        for name, row in rows.items()
        if row["owner"] and name not in configured
    }
    for name, lane in configured.items():
        row = rows.get(name, {})
        if row and row["region"] != lane.region:
            said = f"it is registered in {row['region']}, the config file says {lane.region}"
            yield fault(subject(name, "registration"), said, "use another name for it: its jobs and tokens live there")
        if name in accounts:
            yield from _of_account(name, accounts[name], row.get("account_id"))
            place = (accounts[name], lane.region)
            if (other := places.setdefault(place, name)) != name:
                yield _twins(name, other, place)


def _of_account(name: str, account: str, pinned: str | None) -> Iterator[Finding]:
    if pinned not in (None, account):
        said = f"it belongs to account {pinned}, the credentials to {account}"
        yield fault(subject(name, "registration"), said, "use the other credentials, or another lane name")


def _twins(name: str, other: str, place: Place) -> Finding:
    said = f"lane {other} has the same account {place[0]} in {place[1]}: each would use the whole quota"
    return fault(
        subject(name, "registration"), said, f"work with one of them, or give lane {name} another account or region"
    )

"""`status`: a block of lines for each backfill, then the lanes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.display.figures import aligned, counted, duration, legible, shortened, tallied, usd
from worker.model import FINAL_STATES

MOST_REASONS = 10
MOST_REASON_SYMBOLS = 200
MOST_OWNER_SYMBOLS = 24

_HEAD = ["lane", "jobs", "starts/s", "gets/s", "throttled", "epoch", "owner"]


def status(document: Mapping[str, Any]) -> str:
    """The document of `status --json` for people."""
    blocks = [backfill(entry) for entry in document["backfills"]] or ["no backfill is registered"]
    return "\n\n".join([*blocks, lanes(document["lanes"])])


def backfill(entry: Mapping[str, Any]) -> str:
    """How far a backfill is, what it costs, how long it takes, and why videos ended without labels."""
    return "\n".join(_lines(entry))


def lanes(entries: Sequence[Mapping[str, Any]]) -> str:
    """The lanes as a table; what AWS says against one stands below it."""
    if not entries:
        return "no lane is registered"
    table = aligned([_HEAD, *map(_lane, entries)], right=range(1, len(_HEAD) - 1))
    return "\n".join([table, *_standstills(entries, "denied"), *_standstills(entries, "halted")])


def _standstills(entries: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Lanes that take nothing up, and why."""
    return [f"lane {lane['name']} is {kind}: {legible(lane[kind])}" for lane in entries if lane.get(kind)]


def _lines(entry: Mapping[str, Any]) -> Iterator[str]:
    videos = entry["videos"]
    final, total = sum(videos[state] for state in FINAL_STATES), sum(videos.values())
    yield f"backfill {legible(entry['name'])}{_mark(entry)}"
    yield f"  videos  {final:,} of {total:,} final ({_percent(final, total)})"
    yield from (f"          {line}" for line in tallied(videos))
    yield f"  labels  {entry['labels']:,}"
    yield (
        f"  cost    {usd(entry['spent_usd'])} spent, {usd(entry['reserved_usd'])} reserved, "
        f"budget {usd(entry['budget_usd'])}"
    )
    if final < total:
        yield f"  left    {duration(entry['eta_seconds'])}"
    yield from _reasons(entry["failures"])


def _mark(entry: Mapping[str, Any]) -> str:
    """What keeps a backfill from going on."""
    if entry["purging"]:
        return ", being purged"
    if entry["cancelled"]:
        return ", cancelled"
    if entry["paused"]:
        return f", paused ({legible(entry['paused'])})"
    return ", at its budget" if entry["budget_reached"] else ""


def _percent(final: int, total: int) -> str:
    """Rounded down: only what is all there is 100%."""
    return f"{final * 1000 // total / 10:g}%" if total else "0%"


def _reasons(failures: Mapping[str, int]) -> Iterator[str]:
    """Why videos ended without labels, the most frequent first."""
    if not failures:
        return
    reasons = sorted(failures.items(), key=lambda item: -item[1])
    rows = [(count, shortened(legible(reason), MOST_REASON_SYMBOLS)) for reason, count in reasons[:MOST_REASONS]]
    if others := reasons[MOST_REASONS:]:
        rows.append((sum(count for _, count in others), f"for {counted(len(others), 'other reason')}"))
    width = max(len(f"{count:,}") for count, _ in rows)
    yield "  without labels"
    yield from (f"    {count:>{width},}  {reason}" for count, reason in rows)


def _lane(lane: Mapping[str, Any]) -> list[str]:
    """Figures are those that the latest owner gave; a lane that had none yet has none."""
    slots, starts, gets, throttled = (
        f"{lane[key]:,}" if lane.get(key) is not None else "-"
        for key in ("concurrent_jobs", "start_per_second", "get_per_second", "throttled")
    )
    owner = shortened(legible(lane["owner"] or "nobody"), MOST_OWNER_SYMBOLS)
    return [lane["name"], f"{lane['running']:,} of {slots}", starts, gets, throttled, str(lane["epoch"]), owner]

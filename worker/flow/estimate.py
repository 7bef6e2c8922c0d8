"""What a video may be expected to cost before anybody has seen how long it is."""

from __future__ import annotations

from worker.model import Backfill

LONGEST_MINUTES = 360.0  # Rekognition refuses stored videos of more than 6 hours
UNKNOWN_SIZE_BYTES = 1_000_000_000  # only until HEAD tells the size, before anything is bought


def expected_usd(
    backfill: Backfill, *, size_bytes: int | None, duration_ms: int | None, learned_minutes_per_gb: float | None
) -> float:
    """Expected price of one job, in US dollars; the worst case where the budget is strict.

    A known duration counts as it is; else the size times the minutes per gigabyte, as learned from settled jobs or
    as configured.
    """
    if backfill.is_strict:
        return LONGEST_MINUTES * backfill.price_usd_per_minute
    if duration_ms is not None:
        return duration_ms / 60_000 * backfill.price_usd_per_minute
    minutes_per_gb = learned_minutes_per_gb or backfill.expected_minutes_per_gb
    gigabytes = (UNKNOWN_SIZE_BYTES if size_bytes is None else size_bytes) / 1e9
    return min(gigabytes * minutes_per_gb, LONGEST_MINUTES) * backfill.price_usd_per_minute

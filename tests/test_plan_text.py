"""What `plan` prints: it reads on 80 columns, says what decides, and leaves out what does not apply."""

from __future__ import annotations

from typing import Any

import pytest

from worker.display.plan import text

COLUMNS = 80
DAY = 86_400.0


def lane(name: str = "main", **changes: Any) -> dict[str, Any]:
    """A lane of the document."""
    return {
        "name": name,
        "region": "us-east-1",
        "videos": 1_000_000,
        "ahead": 0,
        "in_flight": 0,
        "starts": 1_000_000,
        "seconds": 35 * DAY,
        "used": {"concurrent_jobs": 0.98, "start_per_second": 0.07, "get_per_second": 0.02},
        "is_held_back": False,
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    """A plan for a million videos of three minutes."""
    return {
        "name": "archive",
        "sources": ["s3://archive/"],
        "videos": 1_000_000,
        "skipped": 0,
        "minutes": 3_000_000.0,
        "cost_usd": 300_000.0,
        "seconds": 35 * DAY,
        "lane": "main",
        "binds": "concurrent_jobs",
        "quota": "concurrent_jobs",
        "gains": [
            {"quota": "concurrent_jobs", "now": 20, "then": 40, "seconds": 17.5 * DAY},
            {"quota": "start_per_second", "now": 5.0, "then": 10.0, "seconds": 34.9 * DAY},
        ],
        "lanes": [lane()],
        "reach": None,
        "budget_usd": None,
        "assumptions": ["the quotas are those of the config file"],
        **changes,
    }


def test_plan_is_told_in_blocks():
    """Sums, what more of each quota would bring, and assumptions; a lane alone needs no table."""
    assert text(document()).splitlines() == [
        "plan for backfill archive; nothing was started",
        "  videos  1,000,000",
        "  length  50,000.0 hours of video",
        "  cost    $300,000.00",
        "  time    35 d 0 h",
        "  binds   concurrent jobs of lane main, 98% in use",
        "",
        "with twice as much on lane main:",
        "  concurrent jobs  20 -> 40  35 d 0 h -> 17 d 12 h",
        "  starts a second   5 -> 10  no gain",
        "",
        "assumed:",
        "- the quotas are those of the config file",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sources": []}, "plan for what is left of backfill archive; nothing was started"),
        ({"skipped": 1_200}, "  videos  1,000,000, and 1,200 that will be skipped at no cost"),
        ({"quota": None, "binds": None}, "  binds   no quota of lane main: the longest jobs decide"),
        ({"lane": None, "quota": None, "binds": None}, "  binds   nothing: there is nothing to do"),
        ({"reach": {"videos": 1_000_000, "seconds": DAY}, "budget_usd": 5e5}, "  budget  $500,000.00 is enough"),
        (
            {"reach": {"videos": 10, "seconds": 60.0}, "budget_usd": 9.0, "binds": "budget"},
            "  budget  $9.00 reaches 10 of 1,000,000 videos, in 1 min",
        ),
        (
            {"reach": {"videos": 10, "seconds": 60.0}, "budget_usd": 9.0, "binds": "budget"},
            "  binds   the budget; beyond it concurrent jobs of lane main, 98% in use",
        ),
        (
            {"lanes": [lane(is_held_back=True)]},
            "          starts will be held back: results would expire before they are read",
        ),
        ({"name": "a\x1b[31mb"}, "plan for backfill a\\x1b[31mb; nothing was started"),
    ],
)
def test_what_applies_is_told(changes: dict[str, Any], line: str):
    """Each circumstance has its line."""
    assert line in text(document(**changes)).splitlines()


def test_several_lanes_are_a_table():
    """What is registered for each, its part once dry lanes have helped, and its time."""
    lanes = [lane(), lane("far", region="eu-west-1", videos=5, starts=7, seconds=60.0)]
    lines = text(document(lanes=lanes)).splitlines()
    start = lines.index("lane  region     registered     starts  time")
    assert lines[start + 1 : start + 3] == [
        "main  us-east-1   1,000,000  1,000,000  35 d 0 h",
        "far   eu-west-1           5          7  1 min",
    ]


def test_plan_fits_80_columns_with_wide_numbers():
    """Ten million videos on lanes with long names, and long assumptions, do not run over the edge."""
    wide = [lane("us-east-1-production", videos=10**7, starts=10**7, seconds=3_650 * DAY) for _ in range(2)]
    told = text(
        document(
            videos=10**7,
            skipped=10**6,
            cost_usd=99_999_999.99,
            lane="us-east-1-production",
            lanes=wide,
            assumptions=["word " * 60],
            seconds=3_650 * DAY,
            gains=[{"quota": "concurrent_jobs", "now": 500_000, "then": 1_000_000, "seconds": 1_825 * DAY}],
        )
    )
    assert "  concurrent jobs  500,000 -> 1,000,000  3650 d 0 h -> 1825 d 0 h" in told.splitlines()
    assert max(map(len, told.splitlines())) <= COLUMNS

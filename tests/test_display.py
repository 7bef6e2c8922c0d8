"""What is printed, as text: it reads on 80 columns, and nothing in it is taken for markup or steers the terminal."""

from __future__ import annotations

import io
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from worker.cli.terminal import out
from worker.display.decisions import decisions, purged, repay_left, resumed, retried
from worker.display.figures import aligned, clock, counted, duration, legible, shortened, usd
from worker.display.progress import exporting
from worker.display.status import status
from worker.display.summary import discovered, exported, summary
from worker.display.timeline import timeline
from worker.export import Exported
from worker.model import VIDEO_STATES
from worker.pipeline.discover import Discovered
from worker.store.audit import Entry
from worker.store.purge import Purged
from worker.store.registry import Lifted, Progress
from worker.store.retries import Outlook

WIDE = 10_000_000
COLUMNS = 80


def backfill(**changes: Any) -> dict[str, Any]:
    """A backfill of the status document."""
    return {
        "name": "films",
        "priority": 0,
        "paused": None,
        "cancelled": False,
        "purging": False,
        "budget_reached": False,
        "videos": dict.fromkeys(VIDEO_STATES, 0) | changes.pop("videos", {}),
        "labels": 0,
        "spent_usd": 0.0,
        "reserved_usd": 0.0,
        "budget_usd": None,
        "eta_seconds": None,
        "failures": {},
        **changes,
    }


def lane(**changes: Any) -> dict[str, Any]:
    """A lane of the status document that has had an owner."""
    return {
        "name": "main",
        "owner": "host-1234",
        "epoch": 3,
        "running": 20,
        "concurrent_jobs": 20,
        "start_per_second": 5.0,
        "get_per_second": 20.0,
        "throttled": 0,
        "denied": None,
        **changes,
    }


def test_status_tells_a_backfill_in_a_block_of_lines():
    """Progress, labels, money, time left and reasons stand on a line each."""
    entry = backfill(
        videos={"pending": 9_000, "active": 20, "done": 900, "failed": 75, "skipped": 5},
        labels=123_456,
        spent_usd=1234.5,
        reserved_usd=20,
        budget_usd=5000,
        eta_seconds=11_520,
        failures={"not a video": 5, "unsupported codec or format": 75},
    )
    assert status({"backfills": [entry], "lanes": [lane()]}).splitlines() == [
        "backfill films",
        "  videos  980 of 10,000 final (9.8%)",
        "          9,000 pending, 20 active, 900 done, 75 failed, 5 skipped",
        "  labels  123,456",
        "  cost    $1,234.50 spent, $20.00 reserved, budget $5,000.00",
        "  left    3 h 12 min",
        "  without labels",
        "    75  unsupported codec or format",
        "     5  not a video",
        "",
        "lane      jobs  starts/s  gets/s  throttled  epoch  owner",
        "main  20 of 20       5.0    20.0          0      3  host-1234",
    ]


def test_status_fits_80_columns_with_wide_numbers():
    """Ten million videos in every state and a hundred thousand running jobs do not fold."""
    entry = backfill(
        videos=dict.fromkeys(VIDEO_STATES, WIDE),
        labels=WIDE * 1000,
        spent_usd=9_999_999.99,
        reserved_usd=999_999.99,
        budget_usd=10_000_000.0,
        eta_seconds=8_640_000.0,
    )
    wide_lane = lane(
        name="us-east-1-main", owner="h" * 100, epoch=12_345, running=100_000, concurrent_jobs=100_000, throttled=WIDE
    )
    lines = status({"backfills": [entry], "lanes": [wide_lane]}).splitlines()
    assert max(map(len, lines[:7])) <= COLUMNS
    assert all(line.startswith(("us-east", "lane")) for line in lines[-2:])
    assert len(lines[-1].removesuffix(lines[-1].split()[-1])) <= COLUMNS  # all but the owner


@pytest.mark.parametrize(
    ("final", "total", "percent"), [(0, 0, "0%"), (0, 10, "0%"), (999_999, 1_000_000, "99.9%"), (10, 10, "100%")]
)
def test_only_what_is_all_there_is_100_percent(final: int, total: int, percent: str):
    """Percentages are rounded down."""
    text = status({"backfills": [backfill(videos={"done": final, "pending": total - final})], "lanes": []})
    assert f"  videos  {final:,} of {total:,} final ({percent})" in text


def test_marks_of_a_backfill_stand_behind_its_name():
    """What holds a backfill up is told, a pause with the word that paused it."""
    assert status({"backfills": [backfill(paused="by hand")], "lanes": []}).startswith(
        "backfill films, paused (by hand)"
    )
    assert status({"backfills": [backfill(cancelled=True)], "lanes": []}).startswith("backfill films, cancelled\n")
    reached = backfill(budget_reached=True)
    assert status({"backfills": [reached], "lanes": []}).startswith("backfill films, at its budget\n")
    going = backfill(purging=True, cancelled=True)
    assert status({"backfills": [going], "lanes": []}).startswith("backfill films, being purged\n")


def test_many_reasons_are_cut_to_the_most_frequent():
    """Of many reasons the first ten are told, the others summed up."""
    failures = {f"reason {n}": n for n in range(1, 31)}
    lines = status({"backfills": [backfill(failures=failures)], "lanes": []}).splitlines()
    told = lines[lines.index("  without labels") + 1 : lines.index("") :]
    assert told[0] == "     30  reason 30"
    assert told[9] == "     21  reason 21"
    assert told[10] == "    210  for 20 other reasons"


def test_status_of_an_empty_database_says_so():
    """Nothing registered is a sentence, not an empty table."""
    assert status({"backfills": [], "lanes": []}) == "no backfill is registered\n\nno lane is registered"


def test_lane_without_an_owner_and_denied_lane_are_told():
    """A lane that never had an owner has no figures; a denied one tells AWS's words below the table."""
    unused = {"name": "new", "owner": None, "epoch": 0, "running": 0}
    text = status({"backfills": [], "lanes": [unused, lane(denied="AccessDenied: no\x1b[31m")]})
    assert "new     0 of -         -       -          -      0  nobody" in text.splitlines()
    assert text.endswith("lane main is denied: AccessDenied: no\\x1b[31m")


def label(**changes: Any) -> dict[str, Any]:
    """A row of `moderation_labels`."""
    times = {"timestamp_ms": 61_500, "start_ms": None, "end_ms": None}
    return {"name": "Weapons", "taxonomy_level": 2, "confidence": 87.5, **times, **changes}


STATE = {"backfill": "films", "state": "done", "reason": None, "labels": 2, "duration_ms": 3_600_000, "cost_usd": 6.0}


def test_timeline_tells_when_how_sure_and_what():
    """Labels stand in lines of time, bar, confidence, and name, indented by their level."""
    text = timeline("archive", "a.mp4", [STATE], [label(name="Violence", taxonomy_level=1, confidence=100.0), label()])
    assert text.splitlines() == [
        "archive/a.mp4",
        "  backfill films: done, 2 labels in 1:00:00.000, $6.00",
        "",
        f"0:01:01.500  {'█' * 20} 100.0%  Violence",
        f"0:01:01.500  {'█' * 18}    87.5%    Weapons",
    ]


def test_timeline_of_segments_tells_from_when_to_when():
    """A segment has a start and an end."""
    segment = label(timestamp_ms=None, start_ms=0, end_ms=7_322_001)
    assert timeline("archive", "a.mp4", [STATE], [segment]).splitlines()[-1].startswith("0:00:00.000 to 2:02:02.001  ")


def test_timeline_without_labels_tells_why():
    """A video that failed shows its reason, one that is clean says that there is no label."""
    failed = {**STATE, "state": "failed", "reason": "unsupported codec", "labels": 0}
    assert timeline("archive", "a.mp4", [failed, {**STATE, "state": "pending"}], []).splitlines() == [
        "archive/a.mp4",
        "  backfill films: failed (unsupported codec)",
        "  backfill films: pending",
        "",
        "no labels",
    ]


def progress(*, is_cancelled: bool = False, **changes: Any) -> Progress:
    states = dict.fromkeys(VIDEO_STATES, 0) | changes
    money = {"labels": WIDE * 1000, "spent_usd": 9_999_999.99, "reserved_usd": 0.0, "budget_usd": None}
    marks: dict[str, Any] = {"pause_reason": None, "lanes_pending": [], "lanes_active": []}
    return Progress(**states, **money, **marks, is_cancelled=is_cancelled)


def test_summary_fits_80_columns_with_wide_numbers():
    """The end of ten million videos, with the calls of all lanes added up and throttled ones counted."""
    calls = {
        ("a", "StartContentModeration", "ok"): WIDE,
        ("b", "StartContentModeration", "ThrottlingException"): 1_000,
        ("a", "GetContentModeration", "ok"): WIDE * 10,
        ("a", "GetContentModeration", "InternalServerError"): 3,
    }
    text = summary("films", progress(done=WIDE, failed=7), calls, 700_000.0, Path("w.toml"), example="archive/a b.mp4")
    assert text.splitlines() == [
        "backfill films",
        "  videos  10,000,007",
        "          10,000,000 done, 7 failed",
        "  labels  10,000,000,000",
        "  calls   10,001,000 StartContentModeration, 100,000,003 GetContentModeration",
        "          in this run, 1,000 of them throttled",
        "  cost    $9,999,999.99",
        "  time    8 d 2 h",
        "next:",
        "  modworker status --config w.toml",
        "  modworker verify --config w.toml",
        "  modworker labels --config w.toml 'archive/a b.mp4'",
    ]
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_summary_of_a_cancelled_backfill_tells_what_was_skipped():
    """What was pending when it was cancelled counts as skipped, as readers of the database see it."""
    text = summary(
        "films", progress(done=1, skipped=2, pending=5, is_cancelled=True), {}, 1.0, Path("w.toml"), example=None
    )
    assert text.splitlines()[2] == "          1 done, 7 skipped"


def test_resuming_tells_what_is_lifted():
    """A pause and a cancel are named; where neither was, the backfill just goes on."""
    assert resumed("films", Lifted(None, was_cancelled=False)) == "backfill films goes on"
    assert resumed("films", Lifted("by hand", was_cancelled=False)).endswith("; it was paused (by hand)")
    assert resumed("films", Lifted(None, was_cancelled=True)).endswith("; it was cancelled")


def test_price_of_buying_again_is_told_with_the_command_that_accepts_it():
    """The command can be copied as it stands, whatever the backfill's name and the videos asked for."""
    outlook = Outlook(repay=12, repay_usd=34.5)
    assert repay_left("films", outlook, with_skipped=False) == (
        "12 videos may have been paid already; buying them again costs about $34.50: "
        "`modworker retry films --accept-repay`"
    )
    assert repay_left("my films", outlook, with_skipped=True).endswith("retry 'my films' --accept-repay --skipped`")


def test_retry_tells_what_it_did():
    """Videos tried again, results read again; nothing is a sentence of its own."""
    assert retried("films", Outlook(free=3, read=1), 4) == (
        "backfill films: 4 videos tried again; 1 result read again for nothing"
    )
    assert retried("films", Outlook(), 0) == "backfill films: nothing to try again"
    assert retried("films", Outlook(repay=1), 0) == (
        "backfill films: nothing to try again that cannot have been paid already"
    )


def test_purge_tells_what_is_gone_and_what_stays():
    """Jobs that other backfills share are told only where there are some."""
    assert purged("films", Purged(videos=1_000, jobs=900, shared=1, labels=1)) == (
        "backfill films is purged: 1,000 videos, 900 jobs and 1 label removed; 1 job that other backfills share stays"
    )
    assert purged("films", Purged(videos=1)).endswith("0 labels removed")


def test_decisions_stand_in_lines():
    """Who, what, when; of the detail what is set; and nothing in a name steers the terminal."""
    at = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    detail = {
        "reason": "by\nhand",
        "before_usd": None,
        "edition": "",
        "skipped_too": True,
        "cancelled": False,
        "read": 0,
    }
    assert decisions([Entry(at, "ann@host", "pause", "films", detail)]).splitlines() == [
        "when (UTC)           who       what   backfill  detail",
        "2025-01-02 03:04:05  ann@host  pause  films     reason by\\nhand, skipped_too, read 0",
    ]
    assert decisions([]) == "no decision is written down"


@pytest.mark.parametrize("example", [None, "archive/a\nb.mp4"])
def test_summary_names_only_a_video_that_can_be_typed(example: str | None):
    """Where there is no key, or none that a shell could be given as it is shown, the form is shown instead."""
    text = summary("films", progress(done=1), {}, 1.0, Path("my worker.toml"), example=example)
    assert text.splitlines()[-1] == f"  modworker labels --config {shlex.quote('my worker.toml')} BUCKET/KEY"


def test_registration_is_told_in_one_sentence():
    """New, known and bad rows are counted; a dry run registers nothing."""
    found = Discovered(added=1_000, known=1, bad_rows=1)
    assert discovered("films", found, is_dry_run=False) == (
        "backfill films: 1,000 videos registered, 1 known already, 1 bad row skipped"
    )
    assert discovered("films", found, is_dry_run=True) == (
        "backfill films: the sources name 1,001 videos; nothing is registered, 1 bad row skipped"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "not known yet"),
        (0.0, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3_599.0, "1 h 0 min"),
        (86_399.0, "1 d 0 h"),
        (864_000.0, "10 d 0 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str):
    """Seconds, minutes, hours and minutes, days and hours."""
    assert duration(seconds) == text


def test_figures_read_as_people_write_them():
    """Thousands, plurals, cents, clocks and cuts."""
    assert [counted(n, "video") for n in (0, 1, 2_000)] == ["0 videos", "1 video", "2,000 videos"]
    assert [usd(None), usd(0.005), usd(1234.5)] == ["none", "$0.01", "$1,234.50"]
    assert [clock(None), clock(0), clock(36_000_001)] == ["-:--:--.---", "0:00:00.000", "10:00:00.001"]
    assert [shortened("abc", 3), shortened("abcd", 3)] == ["abc", "ab…"]
    assert aligned([["a", "bb"], ["ccc", "d"]], right=[1]) == "a    bb\nccc   d"


def test_nothing_of_a_name_steers_the_terminal():
    """Line breaks, escapes and half characters are shown, not obeyed; other scripts stay as they are."""
    assert legible("a\nb\x1b[31m\udcff é 猫") == "a\\nb\\x1b[31m\\udcff é 猫"


def test_names_are_no_markup_and_lines_are_not_folded(capsys: pytest.CaptureFixture[str]):
    """A key may look like markup or an emoji, and may be longer than the terminal is wide."""
    text = timeline("archive", "[bold]x[/bold]/:cat:/" + "k" * 300 + ".mp4", [STATE], [])
    out.print(text)
    assert capsys.readouterr().out == text + "\n"


def test_registration_tells_what_was_left_out():
    """What the filters left out stands before what was bad, and is not told where nothing was."""
    found = Discovered(added=2, left_out=1_000, bad_rows=1)
    told = "backfill films: 2 videos registered, 0 known already, 1,000 left out by the filters, 1 bad row skipped"
    assert discovered("films", found, is_dry_run=False) == told
    assert "left out" not in discovered("films", Discovered(added=2), is_dry_run=True)


def test_export_tells_where_the_next_one_begins(tmp_path: Path):
    """As a time that `--since` takes."""
    done = Exported(1_234, datetime(2026, 11, 23, 8, 0, 5, 999, tzinfo=UTC))
    told = exported(["films"], done, tmp_path / "a.csv")
    assert told.startswith(f"backfill films: 1,234 labels written to {tmp_path / 'a.csv'}; ")
    assert told.endswith(" --since 2026-11-23T08:00:05Z")
    assert " written to standard output; " in exported(["films"], done, None)
    assert exported(["films", "news"], done, None).startswith("backfills films, news: 1,234 labels")


async def test_export_counts_on_a_terminal():
    """What is written so far, and of how many where that is known."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS)
    with exporting(screen, pytest.fail, ["films"]) as shown:
        shown(1_200, 5_000)
    assert "exporting films: 1,200 of 5,000 labels" in screen.file.getvalue()
    screen = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS)
    with exporting(screen, pytest.fail, ["films"]) as shown:
        shown(1_200, None)
    assert "exporting films: 1,200 labels" in screen.file.getvalue()

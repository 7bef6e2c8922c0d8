"""One worker process that dies, or loses an answer, at one place; and another one that finishes its work."""

from __future__ import annotations

import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from msgspec import Struct

from tests.system.checker import findings
from tests.system.processes import LOST, Failpoints
from tests.system.site import Site, finished
from worker.local.analysts.bucket_names import EDGE_CASES_BUCKET

Action = Literal["kill", "lose"]

CRASH_POINTS: dict[str, tuple[str, ...]] = {
    "registration": ("open_backfill", "register"),
    "CP0 before the claim commits": ("acquire_lane_if_free", "claim: before"),
    "CP1 after the claim, before the intent": (
        "claim: after",
        "HeadObject",
        "settle",
        "commit_intents: before",
        "return_claimed_if_jobless",
    ),
    "CP2 intent committed, bytes not sent": ("commit_intents: after", "StartContentModeration: before"),
    "CP3 accepted, answer lost": ("StartContentModeration: after",),
    "CP4 answer in memory": ("confirm_starts: before",),
    "CP5 and 6 confirmed": ("confirm_starts: after", "wait_longer_if_unread"),
    "CP7 notice before the confirm": ("ChangeMessageVisibilityBatch", "ReceiveMessage: before"),
    "CP8 notice received, not committed": ("ReceiveMessage: after", "mark_finished: before", "quarantine_notice"),
    "CP9 committed, message not deleted": (
        "mark_finished: after",
        "DeleteMessageBatch",
        "mark_overdue",
    ),
    "CP10 page in memory": ("GetContentModeration",),
    "CP12 inside the group": ("write_pages: accepted", "write_pages: copied", "write_pages: before"),
    "CP13 group committed": ("write_pages: after",),
    "an end without labels": ("fail",),
    "CP14 the lease": ("renew_lane_if_held", "release_lane_if_held"),
}
"""Crash point of the protocol -> places in the code; a name without a side stands for both of its sides."""

KEYS = (  # no entries, one, a full page, one more, three pages; one that FAILS twice; one that HEAD refuses
    "no-labels.mp4",
    "one-label.mp4",
    "one-page.mp4",
    "one-more-than-a-page.mp4",
    "two-and-a-half-pages.mp4",
    "unsupported-codec.mp4",
    "archived.mp4",
)
JOB_SECONDS = 0.8
ARCHIVE = "archive.csv"
BACKFILL_SECONDS = 90
PASSINGS = (1, 2)

# Lets every place be passed: an overdue job, messages that nobody can read, that come too early or twice.
FAULTS = f"""
[[notices]]
fault = "lost"
keys = ["one-page.mp4"]

[[notices]]
fault = "doubled"
copies = 3
keys = ["one-label.mp4", "no-labels.mp4"]

[[notices]]
fault = "early"
seconds = {JOB_SECONDS}
keys = ["one-more-than-a-page.mp4"]

[[notices]]
fault = "unreadable"
keys = ["two-and-a-half-pages.mp4"]

[[tokens]]
page = 3
keys = ["two-and-a-half-pages.mp4"]
"""


class Crash(Struct, frozen=True):
    """At which passing of which place what happens."""

    place: str
    action: Action
    passing: int = 1

    def __str__(self) -> str:
        return f"{self.action} at passing {self.passing} of {self.place}"


class Recovery(Struct, frozen=True):
    """What came of a crash: whether it happened at all, what is wrong afterwards, and the logs."""

    crash: Crash
    happened: bool
    wrong: list[str]
    seconds: float
    logs: str


def places() -> list[str]:
    """Every place by its full name."""
    return [side for names in CRASH_POINTS.values() for name in names for side in _sides(name)]


def _sides(name: str) -> list[str]:
    return [name] if ": " in name else [f"{name}: before", f"{name}: after"]


def all_crashes(crash_point: str | None = None) -> list[Crash]:
    """Each place (of one crash point): killed, or its answer lost, at its first and its second passing."""
    sides = places() if crash_point is None else [side for name in CRASH_POINTS[crash_point] for side in _sides(name)]
    crashes = [Crash(place, "kill", passing) for place in sides for passing in PASSINGS]
    return crashes + [Crash(place, "lose", passing) for place in sides if _can_lose(place) for passing in PASSINGS]


def _can_lose(place: str) -> bool:
    """An answer is lost behind what was done; inside a transaction the connection is."""
    return place.endswith((": after", ": accepted", ": copied")) or place in ("write_pages: before", "claim: before")


def crash_site(folder: Path, database_url: str, data_dir: Path, name: str) -> Site:
    """A site with a lane and an account of its own, on the service of the data folder."""
    site = Site(folder, database_url, data_dir)
    del site.sections["lanes.main"]
    faults = data_dir / "faults.toml"
    data_dir.mkdir(exist_ok=True)
    faults.write_text(FAULTS)
    site.configure(
        **{f"lanes__{name}": site.local_lane("us-east-1")},
        worker={"lease_seconds": 1},
        moderation={"first_due_seconds": JOB_SECONDS / 3},
        local={"job_seconds": JOB_SECONDS, "job_seconds_per_video_second": 0, "faults": str(faults)},
        local__quotas={"start_per_second": 500, "get_per_second": 1000, "concurrent_jobs": 500},
    )
    (folder / ARCHIVE).write_text("".join(f"{EDGE_CASES_BUCKET},{key}\n" for key in KEYS))
    return site


async def crash_and_recover(site: Site, crash: Crash) -> Recovery:
    """Work with the crash armed, then without, and look at the books of both sides."""
    begun_at = time.monotonic()
    last = first = await _backfill(site, {crash.place: (crash.action, crash.passing)})
    is_killed = first.returncode == -signal.SIGKILL
    if is_killed:
        last = await _backfill(site, {})
    wrong = await findings(site, registered=len(KEYS))
    if last.returncode != 1:  # the video that FAILS is a finding
        wrong.append(f"the last process ended with {last.returncode}")
    happened = is_killed if crash.action == "kill" else LOST in first.stderr
    logs = first.stderr + (last.stderr if is_killed else "")
    return Recovery(crash, happened, wrong, time.monotonic() - begun_at, logs)


async def _backfill(site: Site, armed: Failpoints) -> subprocess.CompletedProcess[str]:
    process = site.start("backfill", str(site.folder / ARCHIVE), failpoints=armed)
    return await anyio.to_thread.run_sync(partial(finished, process, seconds=BACKFILL_SECONDS))

"""What a plan rests on, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

from worker.display.figures import counted, legible, usd
from worker.plan import Plan


def assumptions(plan: Plan) -> Iterator[str]:
    """Where its figures come from, the guesses first, and what it leaves out."""
    yield _experience(plan)
    yield from _lengths(plan)
    yield from _shares(plan)
    yield f"a minute of video costs {usd(plan.terms.price_usd_per_minute)}; failed jobs and skipped videos cost nothing"
    yield from _others(plan)
    yield from _lanes(plan)
    yield from _backfill(plan)


def _experience(plan: Plan) -> str:
    """What is believed of a video, and since when."""
    known = plan.experience
    figures = (
        f"{known.minutes_per_gb.mean:.3g} minutes of video a gigabyte, "
        f"{known.job.base * known.spread.mean:.3g} s a job and {known.job.slope * known.spread.mean:.3g} s more for "
        f"each minute, {known.labels.mean:.3g} labels a minute"
    )
    if known.jobs:
        whose = "this backfill" if plan.known.past and plan.known.past.is_own else "all backfills"
        return f"learned from {counted(known.jobs, 'settled job')} of {whose}: {figures}"
    why = (
        f"the database tells nothing ({plan.known.why_not})" if plan.known.why_not else "too few jobs have settled yet"
    )
    return (
        f"{why}, so these are guesses: {figures}; only the first can be configured "
        "(moderation.expected_minutes_per_gb); plan again once 20 videos or more are done"
    )


def _lengths(plan: Plan) -> Iterator[str]:
    census = plan.census
    if known := census.of("duration_ms").videos:
        yield f"{counted(known, 'video')} with a known duration: taken as it is"
    if unknown := census.of("nothing").videos:
        yield f"{counted(unknown, 'video')} of unknown size and duration: taken to be {_like(plan)}"


def _like(plan: Plan) -> str:
    if plan.experience.jobs:
        return "as long as the settled ones"
    return "as large as the others on average" if plan.census.of("size_bytes").videos else "a gigabyte each"


def _shares(plan: Plan) -> Iterator[str]:
    if plan.named and plan.named.refused:
        yield f"{counted(plan.named.refused, 'object')} will be skipped: no video by name, empty, or over 10 GB"
    if plan.shares.skipped:
        yield f"{plan.shares.skipped:.1%} of the videos are skipped before they are started, as so far"
    if plan.shares.failed:
        yield f"{plan.shares.failed:.1%} of the started ones fail, as so far"
    if plan.named:
        yield "every object is new: one that was bought before, with the same settings, costs neither money nor time"


def _others(plan: Plan) -> Iterator[str]:
    lanes = plan.prediction.lanes
    if ahead := sum(lane.ahead for lane in lanes):
        yield f"{counted(ahead, 'video')} of other backfills come first or take turns; they are taken to be like these"
    if running := sum(lane.in_flight for lane in lanes):
        yield f"{counted(running, 'job')} that run already keep their slots until they end"


def _lanes(plan: Plan) -> Iterator[str]:
    """Of the quotas, and of how lanes work together."""
    yield "the quotas are those of the config file, and nobody else uses them; the workers run all the time"
    if automatic := [name for name, lane in plan.lanes.items() if lane.quotas == "auto"]:
        yield f"Service Quotas was not asked, though the worker will ask for {', '.join(automatic)}"
    if len(plan.lanes) > 1:
        yield "a lane that runs dry takes over from the longest queue of its region; the lane that ends last decides"
    if stranded := plan.prediction.stranded:
        yield f"{counted(stranded, 'video')} wait for a region that no configured lane works in: not in the time"


def _backfill(plan: Plan) -> Iterator[str]:
    """What stands in the way of the backfill, or is there already."""
    progress, name = plan.known.progress, legible(plan.request.name)
    if progress is None:
        return
    if plan.named:
        yield (
            f"backfill {name} is registered already, {progress.final:,} of {counted(progress.total, 'video')} final: "
            f"without sources, `modworker plan --name` tells what is left of it"
        )
    if progress.is_cancelled or progress.pause_reason is not None:
        yield f"backfill {name}, which is {'cancelled' if progress.is_cancelled else 'paused'} now, goes on"
    if plan.terms.is_strict and plan.budget_usd is not None:
        yield "the budget is strict: each running job must have the price of six hours reserved"

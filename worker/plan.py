"""What a backfill would take and cost: counts what the sources name, or what is left of it, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from pathlib import Path

import anyio
from msgspec import Struct, field

from worker.admission import Request, admitted, objects_meant
from worker.app import Access, open_store, with_local_service
from worker.config import Lane as LaneSettings
from worker.config import Loaded, Moderation, Settings
from worker.errors import DatabaseError
from worker.flow.estimate import UNKNOWN_SIZE_BYTES
from worker.model import Backfill, Object, ResolvedObject
from worker.pipeline.discover import Discovered, choose_lane
from worker.pipeline.filters import Choice
from worker.pipeline.refusals import rejected_at_head
from worker.planning.census import Census
from worker.planning.experience import Experience, guessed
from worker.planning.prediction import Lane, Prediction, Question, Queue, Shares, Terms, Work, predict
from worker.planning.simulation import Quota
from worker.store.history import History, Past
from worker.store.registry import Progress, Registry


class Named(Struct):
    """What the sources name: videos by lane, and those of which it is clear at once that they will be skipped."""

    by_lane: dict[str, Census] = field(default_factory=dict)
    refused: int = 0


class Known(Struct, frozen=True):
    """What the database tells. `why_not` is the reason for which it tells nothing."""

    backfill: Backfill | None = None
    progress: Progress | None = None
    past: Past | None = None
    why_not: str | None = None


class Plan(Struct, frozen=True):
    """A prediction, and what it rests on."""

    request: Request
    known: Known
    named: Named | None  # None: what is left of a registered backfill
    experience: Experience
    shares: Shares
    terms: Terms
    minutes_per_gb: float  # as configured
    budget_usd: float | None
    lanes: dict[str, LaneSettings]
    prediction: Prediction

    @property
    def at(self) -> datetime | None:
        """The moment from which the time counts, by the database's clock; None without a database."""
        return self.known.past.at if self.known.past else None

    @property
    def census(self) -> Census:
        """All videos that are to be started."""
        return _together(_waiting(self.known, self.named))


async def plan(loaded: Loaded, config_file: Path, request: Request, found: Discovered) -> Plan | None:
    """Look at the sources and the database; None if nothing is named and there is no such backfill.

    Raises:
        UsageError: as `enqueue`.
        DatabaseError: if the database cannot serve and no source is given.

    """
    known = await _known(loaded.settings, request)
    if not request.sources and known.backfill is None:
        return None
    named = await _named(loaded, config_file, request, found) if request.sources else None
    return await anyio.to_thread.run_sync(_answered, loaded.settings, request, known, named)


async def _known(settings: Settings, request: Request) -> Known:
    """What the database tells; nothing where it cannot serve, as long as there are sources to look at."""
    try:
        async with open_store(settings) as database:
            registry = Registry(database)
            backfill = await registry.find(request.name)
            progress = await registry.progress(request.name) if backfill else None
            past = await History(database).past(backfill, list(settings.lanes), priority=_priority(request, backfill))
    except DatabaseError as error:
        if not request.sources:
            raise
        return Known(why_not=str(error))
    return Known(backfill, progress, past)


def _priority(request: Request, backfill: Backfill | None) -> int:
    if request.priority is not None:
        return request.priority
    return backfill.priority if backfill else 0


async def _named(loaded: Loaded, config_file: Path, request: Request, found: Discovered) -> Named:
    """Count what the sources name, each video for the lane that it would be registered for."""
    named = Named()
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(with_local_service(loaded, config_file))
        numbers = {name: number for number, name in enumerate(settings.lanes)}
        choice = Choice(request.filters)
        sources, buckets = await admitted(Access(settings, loaded.settings), request.sources, choice, numbers, stack)
        async with aclosing(objects_meant(sources, buckets, choice, found)) as objects:
            async for video in objects:
                _count(video, named, choose_lane(video, buckets.lanes[video.bucket]).name)
    return named


def _count(video: Object, named: Named, lane: str) -> None:
    unknown = 1 if video.size_bytes is None else video.size_bytes
    if rejected_at_head(ResolvedObject(video.bucket, video.key, None, "", unknown)):
        named.refused += 1
        return
    named.by_lane.setdefault(lane, Census()).count(size_bytes=video.size_bytes, duration_ms=video.duration_ms)


def _answered(settings: Settings, request: Request, known: Known, named: Named | None) -> Plan:
    terms, budget_usd = _terms(settings.moderation, request, known)
    expected = known.backfill.expected_minutes_per_gb if known.backfill else settings.moderation.expected_minutes_per_gb
    experience = (known.past and known.past.experience) or _guess(expected, _waiting(known, named))
    shares = _shares(known, named)
    question = Question(
        lanes={name: Lane(lane.region, _quota(lane)) for name, lane in settings.lanes.items()},
        work=_work(known, named),
        experience=experience,
        terms=terms,
        life_seconds=settings.aws.reliable_results_seconds,
        shares=shares,
        regions=known.past.waiting.regions if known.past else {},
    )
    return Plan(
        request=request,
        known=known,
        named=named,
        experience=experience,
        shares=shares,
        terms=terms,
        minutes_per_gb=expected,
        budget_usd=budget_usd,
        lanes=dict(settings.lanes),
        prediction=predict(question),
    )


def _waiting(known: Known, named: Named | None) -> Mapping[str, Census]:
    """The videos that are to be started, by lane."""
    if named is not None:
        return named.by_lane
    return known.past.waiting.censuses if known.past else {}


def _together(censuses: Mapping[str, Census]) -> Census:
    whole = Census()
    for census in censuses.values():
        whole.include(census)
    return whole


def _guess(minutes_per_gb: float, waiting: Mapping[str, Census]) -> Experience:
    """A video of unknown size is taken to have the mean size of the others."""
    sized = _together(waiting).of("size_bytes")
    return guessed(minutes_per_gb, (sized.mean if sized.videos else UNKNOWN_SIZE_BYTES) / 1e9)


def _shares(known: Known, named: Named | None) -> Shares:
    """What was learned; of new sources it is seen what is no video, so that only failures are expected as before."""
    if known.past is None:
        return Shares()
    return known.past.shares if named is None else Shares(failed=known.past.shares.failed)


def _terms(moderation: Moderation, request: Request, known: Known) -> tuple[Terms, float | None]:
    """What holds of the backfill if it is registered, else of a new one; and its budget."""
    backfill, budget_usd = known.backfill, request.budget_usd
    if backfill is None:
        terms = Terms(moderation.price_usd_per_minute, budget_usd, moderation.budget == "strict")
        return terms, budget_usd
    budget_usd = backfill.budget_usd if budget_usd is None else budget_usd
    spent_usd = known.progress.spent_usd if known.progress else 0.0
    left_usd = None if budget_usd is None else budget_usd - spent_usd
    return Terms(backfill.price_usd_per_minute, left_usd, backfill.is_strict), budget_usd


def _work(known: Known, named: Named | None) -> dict[str, Work]:
    """What each lane has before it; jobs of the backfill that run already are among what the sources name."""
    waiting, past = _waiting(known, named), known.past
    if past is None:
        return {lane: Work(census) for lane, census in waiting.items()}
    return {
        lane: Work(
            census=waiting.get(lane, Census()),
            in_flight=[job for job in past.in_flight.get(lane, ()) if named is None or not job.is_own],
            beside=past.beside.get(lane, Queue()),
        )
        for lane in {**waiting, **past.in_flight, **past.beside}
    }


def _quota(lane: LaneSettings) -> Quota:
    return Quota(lane.start_per_second, lane.get_per_second, lane.concurrent_jobs)

"""What a backfill comes to: videos, minutes, money, time, the quota that binds, and what raising it would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from worker.flow.estimate import LONGEST_MINUTES
from worker.planning.census import Census
from worker.planning.experience import Experience, InFlight
from worker.planning.forecast import QUOTAS, Duties, Forecast, doubled, forecast, longest
from worker.planning.simulation import Quota

BINDING = 0.5  # of the time that a quota must be in use to be what binds; else it is the longest jobs


class Lane(Struct, frozen=True):
    """A configured lane."""

    region: str
    quota: Quota


class Queue(Struct, frozen=True):
    """Videos of other backfills: of a higher priority, which come first, and of the same, which take turns."""

    urgent: int = 0
    equal: int = 0


class Work(Struct, frozen=True):
    """What a lane has before it: the backfill's videos, jobs that run already, and the videos of other backfills."""

    census: Census = field(default_factory=Census)
    in_flight: Sequence[InFlight] = ()
    beside: Queue = Queue()


class Shares(Struct, frozen=True):
    """Of the videos that are taken up, those that are skipped without a start; of the others, those that fail.

    Neither costs anything.
    """

    skipped: float = 0.0
    failed: float = 0.0


class Terms(Struct, frozen=True):
    """What a minute costs, and what is left of the budget; a strict one reserves the worst case for each job."""

    price_usd_per_minute: float
    left_usd: float | None = None
    is_strict: bool = False


class Reach(Struct, frozen=True):
    """How far a budget reaches: videos of the backfill, and the seconds until they are done."""

    videos: int
    seconds: float


class Question(Struct, frozen=True):
    """Everything that a prediction follows from.

    `work` is by lane; `regions` are those of lanes that have work and are not configured any more, whose videos the
    other lanes of the region take over.
    """

    lanes: Mapping[str, Lane]
    work: Mapping[str, Work]
    experience: Experience
    terms: Terms
    life_seconds: float
    shares: Shares = Shares()
    regions: Mapping[str, str] = field(default_factory=dict)

    def region_of(self, lane: str) -> str | None:
        """Where a lane works."""
        return self.lanes[lane].region if lane in self.lanes else self.regions.get(lane)


class LanePrediction(Struct, frozen=True):
    """A lane: videos of the backfill that are its own now, others that go before or between them, jobs that run.

    `starts` is its part of the region's work, since dry lanes take over from the longest queue.
    """

    name: str
    region: str
    videos: int
    ahead: int
    in_flight: int
    starts: int
    seconds: float
    used: dict[str, float]
    is_held_back: bool


class Gain(Struct, frozen=True):
    """What another quota of the deciding lane would bring: the seconds of the whole backfill with it."""

    quota: str
    now: float
    then: float
    seconds: float


class Prediction(Struct, frozen=True):
    """`lane` is the one that decides, None where there is nothing to do; `binds` is None where no quota does.

    `stranded` videos wait for regions in which no lane is configured; they are in the sums and not in the time.
    """

    videos: int
    minutes: float
    cost_usd: float
    seconds: float
    lane: str | None
    binds: str | None
    gains: list[Gain]
    lanes: list[LanePrediction]
    reach: Reach | None
    stranded: int

    @property
    def is_beyond_budget(self) -> bool:
        """True where the budget ends it before the last video."""
        return self.reach is not None and self.reach.videos < self.videos


def predict(question: Question) -> Prediction:
    """Answer it."""
    duties = _duties(question)
    lanes = {name: lane.quota for name, lane in question.lanes.items()}
    forecasts = _forecasts(question, duties, lanes)
    minutes = _minutes(question)
    cost_usd = minutes * question.terms.price_usd_per_minute
    videos = sum(work.census.videos + _own(work) for work in question.work.values())
    decides = max(forecasts, key=lambda name: forecasts[name].seconds, default=None)
    if decides is None or not forecasts[decides].seconds:
        decides = None
    return Prediction(
        videos=videos,
        minutes=minutes,
        cost_usd=cost_usd,
        seconds=longest(forecasts),
        lane=decides,
        binds=_binding(forecasts[decides].used) if decides else None,
        gains=_gains(question, duties, lanes, decides) if decides else [],
        lanes=[_lane(name, question, found) for name, found in forecasts.items()],
        reach=_reach(question, duties, lanes, cost_usd, videos),
        stranded=sum(w.census.videos for name, w in question.work.items() if question.region_of(name) not in duties),
    )


def _duties(question: Question) -> dict[str, Duties]:
    """What there is to do in each region that has a lane."""
    return {region: _duties_in(region, question) for region in {lane.region for lane in question.lanes.values()}}


def _duties_in(region: str, question: Question) -> Duties:
    works = {name: work for name, work in question.work.items() if question.region_of(name) == region}
    census = Census()
    for work in works.values():
        census.include(work.census)
    ahead = sum(map(_ahead, works.values())) if census.videos else 0
    return Duties(
        census=census,
        starts=round(census.videos * (1 - question.shares.skipped)) + ahead,
        in_flight={name: work.in_flight for name, work in works.items()},
        failed_share=question.shares.failed,
    )


def _ahead(work: Work) -> int:
    """Other backfills' videos that are started before the last of ours is."""
    return work.beside.urgent + min(work.beside.equal, work.census.videos)


def _own(work: Work) -> int:
    """Jobs of the backfill that run already."""
    return sum(job.is_own for job in work.in_flight)


def _minutes(question: Question) -> float:
    """Minutes of video that are to be paid: what fails costs nothing, nor does what is never started."""
    experience, shares = question.experience, question.shares
    started = sum(
        lot.videos * experience.mean_minutes(lot)
        for work in question.work.values()
        for lot in work.census.lots.values()
    )
    running = sum(
        experience.mean_minutes(job.lot) for work in question.work.values() for job in work.in_flight if job.is_own
    )
    return (started * (1 - shares.skipped) + running) * (1 - shares.failed)


def _forecasts(question: Question, duties: Mapping[str, Duties], quotas: Mapping[str, Quota]) -> dict[str, Forecast]:
    """Every lane's, region by region."""
    found: dict[str, Forecast] = {}
    for region, of_region in duties.items():
        lanes = {name: quotas[name] for name, lane in question.lanes.items() if lane.region == region}
        found |= forecast(of_region, lanes, question.experience, question.life_seconds)
    return {name: found[name] for name in question.lanes}


def _binding(used: Mapping[str, float]) -> str | None:
    """The quota that is in use the longest, if that is for most of the time."""
    name = max(used, key=lambda quota: used[quota])
    return name if used[name] >= BINDING else None


def _gains(question: Question, duties: Mapping[str, Duties], lanes: Mapping[str, Quota], decides: str) -> list[Gain]:
    """What twice as much of each quota of the deciding lane would bring."""
    found = []
    for quota in QUOTAS:
        more = doubled(lanes, decides, quota)
        now, then = getattr(lanes[decides], quota), getattr(more[decides], quota)
        found.append(Gain(quota, now, then, longest(_forecasts(question, duties, more))))
    return found


def _lane(name: str, question: Question, found: Forecast) -> LanePrediction:
    work = question.work.get(name, Work())
    return LanePrediction(
        name=name,
        region=question.lanes[name].region,
        videos=work.census.videos,
        ahead=_ahead(work),
        in_flight=len(work.in_flight),
        starts=found.starts,
        seconds=found.seconds,
        used=found.used,
        is_held_back=found.is_held_back,
    )


def _reach(
    question: Question, duties: Mapping[str, Duties], lanes: Mapping[str, Quota], cost_usd: float, videos: int
) -> Reach | None:
    """How far the budget reaches; None without one."""
    terms = question.terms
    if terms.left_usd is None:
        return None
    spare_usd = LONGEST_MINUTES * terms.price_usd_per_minute if terms.is_strict else 0.0
    share = max(0.0, min(1.0, (terms.left_usd - spare_usd) / cost_usd)) if cost_usd else 1.0
    fewer = {region: replace(of_region, starts=round(of_region.starts * share)) for region, of_region in duties.items()}
    return Reach(int(videos * share), longest(_forecasts(question, fewer, lanes)))

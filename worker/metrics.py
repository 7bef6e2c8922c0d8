"""What the process tells Prometheus about itself: names and labels as operators' dashboards expect them.

Each `Metrics` has a registry of its own, so that tests and several owners in one process do not see each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from worker.model import VIDEO_STATES

NoticeOutcome = Literal["marked", "repeated", "unknown", "foreign", "unreadable"]
ArrivalOutcome = Literal["registered", "known", "left_out", "foreign", "unreadable"]
OverdueOutcome = Literal["found", "in_progress"]

# From a call on this machine to one that times out; half-decades, as quotas and latencies are judged by their order.
_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# A group of pages is written in milliseconds by a healthy database; a minute is its statement timeout's order.
_WRITE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# From one short page to a full group of full pages of 1,000 labels.
_WRITE_ROWS = (1, 10, 100, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)


class Metrics:
    """One process's figures. Counters only grow; gauges of a lane or backfill can be forgotten when it is let go."""

    def __init__(self) -> None:
        # Else each counter brings a second series, which no dashboard reads. The library has this switch untyped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(name, meaning, labels, namespace="modworker", registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, namespace="modworker", registry=registry)

        def histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, meaning, labels, namespace="modworker", registry=registry, buckets=buckets)

        self._registry = registry
        self._videos = gauge("videos", f"Videos by state: {', '.join(VIDEO_STATES)}", "backfill", "state")
        self._calls = counter(
            "calls", "Calls of AWS by outcome: ok, or AWS's error code", "lane", "operation", "outcome"
        )
        self._call_seconds = histogram(
            "call_seconds", "Time that a call of AWS took", "lane", "operation", buckets=_CALL_SECONDS
        )
        self._pace = gauge("pace_per_second", "Rate at which calls are spaced", "lane", "operation")
        self._slots = gauge("slots", "Concurrent jobs: the limit, and how many are used", "lane", "kind")
        self._labels = counter("labels_written", "Detections written to the database")
        self._write_seconds = histogram("write_seconds", "Time that writing a group took", buckets=_WRITE_SECONDS)
        self._write_rows = histogram("write_rows", "Detections in a written group", buckets=_WRITE_ROWS)
        self._notices = counter(
            "notices",
            "Completion messages by outcome: marked (their job is ready to be read), repeated (it was before), unknown "
            "(no job of the lane has the JobId yet), foreign (about something else), unreadable (put aside)",
            "lane",
            "outcome",
        )
        self._arrivals = counter(
            "arrivals",
            "Objects that arrived by outcome: registered, known (registered before), left_out (by match or exclude); "
            "and messages: foreign (not of S3, left), unreadable (put aside)",
            "lane",
            "outcome",
        )
        self._overdue = counter(
            "overdue",
            "Jobs without a notice by outcome: found (their time had come, so AWS is asked), in_progress (its answer: "
            "they wait longer)",
            "lane",
            "outcome",
        )
        self._spend = gauge("spend_usd", "US dollars: spent, reserved, and the budget, if any", "backfill", "kind")
        self._result_age = gauge("result_age_seconds", "Age of the oldest result not yet fetched; 0 for none")
        self._lease_epoch = gauge("lease_epoch", "Epoch of the lease of a lane that this process owns", "lane")
        ProcessCollector(registry=registry)

    def called(self, lane: str, operation: str, outcome: str, seconds: float) -> None:
        """A call ended: `outcome` is "ok" or AWS's error code."""
        self._calls.labels(lane, operation, outcome).inc()
        self._call_seconds.labels(lane, operation).observe(seconds)

    def calls(self) -> dict[tuple[str, str, str], int]:
        """(lane, operation, outcome) -> calls so far."""
        return {
            (sample.labels["lane"], sample.labels["operation"], sample.labels["outcome"]): int(sample.value)
            for metric in self._calls.collect()
            for sample in metric.samples
        }

    def paced(self, lane: str, operation: str, per_second: float) -> None:
        """The rate at which the operation's calls are spaced now."""
        self._pace.labels(lane, operation).set(per_second)

    def slots_used(self, lane: str, *, limit: int, used: int) -> None:
        """How many jobs may run in the lane, and how many do."""
        self._slots.labels(lane, "limit").set(limit)
        self._slots.labels(lane, "used").set(used)

    def owns(self, lane: str, epoch: int) -> None:
        """The lane is owned by this process now; `epoch` counts its owners."""
        self._lease_epoch.labels(lane).set(epoch)

    def leaves(self, lane: str) -> None:
        """The lane is another's now: its gauges here would tell an old truth. Its counters stay."""
        for gauge in (self._pace, self._slots, self._lease_epoch):
            gauge.remove_by_labels({"lane": lane})

    def wrote(self, rows: int, seconds: float) -> None:
        """A group of pages was committed: `rows` detections."""
        self._labels.inc(rows)
        self._write_rows.observe(rows)
        self._write_seconds.observe(seconds)

    def noticed(self, lane: str, outcome: NoticeOutcome, count: int = 1) -> None:
        """Completion messages met this outcome."""
        self._notices.labels(lane, outcome).inc(count)

    def arrived(self, lane: str, outcome: ArrivalOutcome, count: int = 1) -> None:
        """Objects of event notifications met this outcome, or messages that tell of none."""
        self._arrivals.labels(lane, outcome).inc(count)

    def overdue(self, lane: str, outcome: OverdueOutcome, count: int = 1) -> None:
        """Jobs without a notice met this outcome."""
        self._overdue.labels(lane, outcome).inc(count)

    def counted(self, backfill: str, videos: Mapping[str, int]) -> None:
        """The backfill's videos, by state."""
        for state, count in videos.items():
            self._videos.labels(backfill, state).set(count)

    def spent(self, backfill: str, *, spent_usd: float, reserved_usd: float, budget_usd: float | None) -> None:
        """The backfill's money; None where it has no budget."""
        self._spend.labels(backfill, "spent").set(spent_usd)
        self._spend.labels(backfill, "reserved").set(reserved_usd)
        if budget_usd is None:
            self._spend.remove_by_labels({"backfill": backfill, "kind": "budget"})
        else:
            self._spend.labels(backfill, "budget").set(budget_usd)

    def forget_backfill(self, backfill: str) -> None:
        """The backfill is purged, or no longer reported by this process."""
        for gauge in (self._videos, self._spend):
            gauge.remove_by_labels({"backfill": backfill})

    def oldest_result(self, age_seconds: float) -> None:
        """How long the oldest result that is ready has been waiting to be fetched; 0 where none waits."""
        self._result_age.set(age_seconds)

    def render(self) -> tuple[bytes, str]:
        """(body, content type) of Prometheus's text format."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

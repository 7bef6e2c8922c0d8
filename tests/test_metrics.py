"""The metrics: the names that dashboards rely on, and what can be read back or forgotten."""

import re
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics import ArrivalOutcome, Metrics, NoticeOutcome, OverdueOutcome
from worker.model import VideoState


def used() -> Metrics:
    """Metrics in which everything was told once."""
    metrics = Metrics()
    metrics.called("main", "StartContentModeration", "ok", 0.1)
    metrics.called("main", "StartContentModeration", "ok", 0.1)
    metrics.called("main", "StartContentModeration", "ThrottlingException", 0.2)
    metrics.paced("main", "StartContentModeration", 4.5)
    metrics.slots_used("main", limit=20, used=7)
    metrics.owns("main", 3)
    metrics.wrote(1500, 0.05)
    metrics.noticed("main", "marked", 10)
    metrics.overdue("main", "found")
    metrics.arrived("main", "registered")
    metrics.counted("b", {"pending": 3, "done": 4})
    metrics.spent("b", spent_usd=1.5, reserved_usd=0.5, budget_usd=10)
    metrics.oldest_result(12)
    return metrics


def series(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value, as Prometheus would read them."""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name.startswith("modworker_")
    }


def test_names_and_labels_are_those_that_dashboards_rely_on():
    """Each series has its name and its labels exactly, and none is added."""
    shapes: dict[str, set[str]] = {}
    for name, labels in series(used()):
        shapes.setdefault(name, set()).update(label for label, _ in labels)
    histograms = {"call_seconds": {"lane", "operation"}, "write_seconds": set(), "write_rows": set()}
    expected = {
        "videos": {"backfill", "state"},
        "calls_total": {"lane", "operation", "outcome"},
        "pace_per_second": {"lane", "operation"},
        "slots": {"lane", "kind"},
        "labels_written_total": set(),
        "notices_total": {"lane", "outcome"},
        "overdue_total": {"lane", "outcome"},
        "arrivals_total": {"lane", "outcome"},
        "spend_usd": {"backfill", "kind"},
        "result_age_seconds": set(),
        "lease_epoch": {"lane"},
    }
    for name, labels in histograms.items():
        expected |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
    assert shapes == {f"modworker_{name}": labels for name, labels in expected.items()}


@pytest.mark.parametrize(
    ("name", "values"),
    [("videos", VideoState), ("notices", NoticeOutcome), ("arrivals", ArrivalOutcome), ("overdue", OverdueOutcome)],
)
def test_the_values_of_a_label_are_told_with_the_metric(name: str, values: object):
    """Prometheus shows, as the meaning of the metric, each state or outcome that there is."""
    body, _ = Metrics().render()
    meanings = {family.name: family.documentation for family in text_string_to_metric_families(body.decode())}
    words = re.findall(r"\w+", meanings[f"modworker_{name}"])
    assert [value for value in get_args(values) if value not in words] == []


def test_what_is_told_is_shown():
    """The values are those of the calls."""
    shown = series(used())

    def value(name: str, **labels: str) -> float:
        return shown[f"modworker_{name}", frozenset(labels.items())]

    assert value("calls_total", lane="main", operation="StartContentModeration", outcome="ok") == 2
    assert value("call_seconds_count", lane="main", operation="StartContentModeration") == 3
    assert value("pace_per_second", lane="main", operation="StartContentModeration") == 4.5
    assert (value("slots", lane="main", kind="limit"), value("slots", lane="main", kind="used")) == (20, 7)
    assert value("lease_epoch", lane="main") == 3
    assert (value("labels_written_total"), value("write_rows_sum"), value("write_seconds_count")) == (1500, 1500, 1)
    assert value("notices_total", lane="main", outcome="marked") == 10
    assert value("overdue_total", lane="main", outcome="found") == 1
    assert (value("videos", backfill="b", state="pending"), value("videos", backfill="b", state="done")) == (3, 4)
    assert [value("spend_usd", backfill="b", kind=kind) for kind in ("spent", "reserved", "budget")] == [1.5, 0.5, 10]
    assert value("result_age_seconds") == 12


def test_calls_can_be_read_back():
    """The summary at the end of a run counts calls by lane, operation and outcome."""
    assert used().calls() == {
        ("main", "StartContentModeration", "ok"): 2,
        ("main", "StartContentModeration", "ThrottlingException"): 1,
    }
    assert Metrics().calls() == {}


def test_a_lane_that_left_is_no_longer_gauged():
    """Gauges of a lost lane go, those of another and all counters stay."""
    metrics = used()
    metrics.owns("other", 1)
    metrics.leaves("main")
    metrics.leaves("never owned")
    names = {name for name, labels in series(metrics) if ("lane", "main") in labels}
    assert not names & {"modworker_slots", "modworker_pace_per_second", "modworker_lease_epoch"}
    assert "modworker_calls_total" in names
    assert ("modworker_lease_epoch", frozenset({("lane", "other")})) in series(metrics)


def test_a_backfill_can_be_forgotten_and_its_budget_taken_away():
    """A purged backfill leaves no series, and one without a budget no budget of 0."""
    metrics = used()
    metrics.spent("b", spent_usd=2, reserved_usd=0, budget_usd=None)
    assert ("modworker_spend_usd", frozenset({("backfill", "b"), ("kind", "budget")})) not in series(metrics)
    metrics.forget_backfill("b")
    assert not [labels for _, labels in series(metrics) if ("backfill", "b") in labels]


def test_two_metrics_do_not_see_each_other():
    """Each has a registry of its own."""
    used()
    assert ("modworker_labels_written_total", frozenset()) in series(Metrics())
    assert series(Metrics())["modworker_labels_written_total", frozenset()] == 0

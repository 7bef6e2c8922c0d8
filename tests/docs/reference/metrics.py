"""The metrics, as the program registers them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from tests.docs.reference.markdown import code, table
from worker.metrics import Metrics


def metrics() -> Iterator[str]:
    """Every metric of the worker's own, then the buckets of the histograms."""
    families = [_family(metric) for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    yield table(("metric", "type", "labels", "meaning"), *map(_row, families))
    yield "On Linux the figures of the process itself (`process_…`) come besides."
    yield "## Buckets"
    yield "A histogram counts what is at most as large as each of its bounds, its label `le`."
    yield table(("histogram", "bounds"), *(_buckets(family) for family in families if family.type == "histogram"))


def _family(metric: MetricWrapperBase) -> Metric:
    """The metric as it is scraped, with one series whose labels have their own names as values."""
    if metric._labelnames:
        metric.labels(*metric._labelnames)
    (family,) = metric.collect()
    return family


def _row(family: Metric) -> tuple[str, str, str, str]:
    names = dict.fromkeys(sample.name for sample in family.samples)
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    return ", ".join(map(code, names)), family.type, ", ".join(map(code, labels)), family.documentation


def _buckets(family: Metric) -> tuple[str, str]:
    bounds = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
    return code(family.name), ", ".join(map(code, bounds))

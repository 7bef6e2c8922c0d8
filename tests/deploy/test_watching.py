"""What Prometheus and Grafana are given: every query parses, and asks for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml

from tests.test_metrics import series, used
from worker.aws.rekognition import GET, START
from worker.model import VideoState

ROOT = Path(__file__).parents[2]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text(encoding="utf-8"))
TARGETS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES = [(rule["alert"], rule["expr"]) for rule in RULES] + TARGETS
SCRAPED = {"instance", "job"}  # labels that Prometheus adds itself
VALUES = {
    "state": set(get_args(VideoState)),
    "operation": {START, GET, "ReceiveMessage"},
    "kind": {"limit", "used", "spent", "reserved", "budget"},
}
VARIABLE = re.compile(r"\$\w+")


def labels_of_metrics() -> dict[str, set[str]]:
    """The names of the series that a worker shows, each with the names of its labels."""
    shown: dict[str, set[str]] = {}
    for name, labels in series(used()):
        shown.setdefault(name, set()).update(label for label, _ in labels)
    return shown


def selectors(query: str) -> Iterator[Any]:
    """The selectors of a query, wherever they stand in it."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(query), found.append)
    for expression in found:
        if isinstance(expression, promql_parser.VectorSelector):
            yield expression


@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[f"{name} {n}" for n, (name, _) in enumerate(QUERIES)])
def test_query_asks_for_what_there_is(name: str, query: str):
    """Each metric, each label and each value that has a known set is one that the worker tells."""
    shown = labels_of_metrics()
    asked = list(selectors(query))
    assert asked, name
    for selector in asked:
        assert selector.name in shown
        for matcher in selector.matchers.matchers:
            assert matcher.name in shown[selector.name] | SCRAPED
            if matcher.name in VALUES and not VARIABLE.search(matcher.value):
                assert set(matcher.value.split("|")) <= VALUES[matcher.name]


def test_dashboard_shows_every_metric():
    """Whatever the worker tells of its work has its place; of histograms the buckets."""
    asked = {selector.name for _, query in TARGETS for selector in selectors(query)}
    parts = {name for name in labels_of_metrics() if name.endswith(("_sum", "_count"))}
    assert asked == labels_of_metrics().keys() - parts


def test_panels_do_not_overlap():
    """Each has a place of its own within the 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_says_what_is_wrong_and_how_bad_it_is():
    """A name of its own, a severity, and a sentence."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith(".")

"""docs/watching.md knows every event that the worker logs, and every alert; and none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
LEVELS = {"info", "warning", "error", "critical", "exception"}


def logged(path: Path) -> Iterator[str]:
    """The events of a module: the first arguments of its log calls, constants by their values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and ast.unparse(node.func.value) in {"log", "logger"}
        ):
            event = node.args[0]
            yield event.value if isinstance(event, ast.Constant) else constants[ast.unparse(event)]


def rows(heading: str) -> set[str]:
    """What stands in code spans in the first column of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_event_has_its_row():
    """The worker's own events and no others; the local service's are for those who test with it."""
    modules = [path for path in (ROOT / "worker").rglob("*.py") if "local" not in path.relative_to(ROOT).parts]
    events = {event for path in modules for event in logged(path)}
    assert len(events) > 40
    assert rows("Log events") == events


def test_every_alert_has_its_row():
    """Each alert says there what it means and what to do."""
    groups = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    assert rows("Alerts") == {rule["alert"] for group in groups for rule in group["rules"]}

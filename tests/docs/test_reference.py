"""docs/reference is what the code says of itself, whole and legible."""

from __future__ import annotations

import re

import pytest

from tests.docs.reference.markdown import table
from tests.docs.reference.pages import COMMAND, FOLDER, pages
from tests.test_metrics import series, used
from worker.cli.terminal import EXIT_CODES
from worker.config import Lane, Settings
from worker.config.reading import leaves

PAGES = ("commands.md", "configuration.md", "metrics.md", "views.md")
README = FOLDER.parents[1] / "README.md"
BAR = re.compile(r"(?<!\\)\|")


def tables(text: str) -> list[list[dict[str, str]]]:
    """The rows below the head of each table, by the names of their columns."""
    found = [[_cells(line) for line in block.splitlines()] for block in text.split("\n\n") if block.startswith("|")]
    return [[dict(zip(head, row, strict=True)) for row in rows] for head, _, *rows in found]


def _cells(line: str) -> list[str]:
    _, *cells, after = BAR.split(line)
    assert after == ""
    return [cell.strip() for cell in cells]


def committed(name: str) -> list[dict[str, str]]:
    """The rows of all tables of a page."""
    return [row for rows in tables((FOLDER / name).read_text(encoding="utf-8")) for row in rows]


def names(cell: str) -> list[str]:
    """What stands in code spans."""
    return re.findall(r"`([^`]+)`", cell)


async def test_the_committed_pages_are_fresh(database_url: str):
    """docs/reference holds what the command writes, and no other page."""
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert found == await pages(database_url), f"run: {COMMAND}"
    assert found.keys() == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_every_row_is_whole_and_says_what_it_means(name: str):
    """Rows have as many cells as their head, and none lacks its meaning."""
    rows = [row for row in committed(name) if "meaning" in row]
    assert len(rows) > 10
    assert [row for row in rows if not row["meaning"]] == []


def test_a_bar_does_not_end_a_cell():
    """Nor does one in a code span, nor a line break; no star begins anything."""
    assert table(("a", "b"), ("x | y\n*z", "`c|d`*")).splitlines()[2] == r"| x \| y \*z | `c\|d`\* |"


def test_every_setting_has_its_variable():
    """The page has the variable of each value that the settings hold, and no other."""
    whole = Settings(lanes={"NAME": Lane(region="us-east-1")}).model_dump(mode="json")
    expected = {f"MODWORKER_{'__'.join(keys).upper()}" for keys, _ in leaves(whole)}
    assert {variable for row in committed("configuration.md") for variable in names(row["variable"])} == expected


def test_what_is_scraped_has_its_row():
    """Each series of a worker that has told everything once is there under its name, with its labels."""
    labels = {
        name: names(row["labels"])
        for row in committed("metrics.md")
        if "metric" in row
        for name in names(row["metric"])
    }
    scraped = list(series(used()))
    assert len(scraped) > 20
    assert [(name, told) for name, told in scraped if not {label for label, _ in told} <= set(labels[name])] == []


def test_the_readme_tells_the_same_exit_codes():
    """Its table is the one of the command line."""
    (codes,) = (rows for rows in tables(README.read_text(encoding="utf-8")) if "code" in rows[0])
    assert codes == [{"code": str(code), "meaning": meaning} for code, meaning in EXIT_CODES.items()]

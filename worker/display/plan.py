"""`plan`: what a backfill comes to, what decides its time, and what was assumed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from worker.display.assumptions import assumptions
from worker.display.figures import aligned, counted, duration, legible, usd
from worker.plan import Plan

COLUMNS = 80
HELPS = 0.98  # of the time, that is left with more of a quota: what saves less is noise

QUOTAS = {
    "concurrent_jobs": "concurrent jobs",
    "start_per_second": "starts a second",
    "get_per_second": "gets a second",
}


def document(plan: Plan) -> dict[str, Any]:
    """The document of `plan --json`."""
    return {
        "name": plan.request.name,
        "sources": list(plan.request.sources),
        "at": plan.at,
        **msgspec.to_builtins(plan.prediction),
        "binds": "budget" if plan.prediction.is_beyond_budget else plan.prediction.binds,
        "quota": plan.prediction.binds,
        "skipped": plan.named.refused if plan.named else 0,
        "price_usd_per_minute": plan.terms.price_usd_per_minute,
        "budget_usd": plan.budget_usd,
        "learned_from_jobs": plan.experience.jobs,
        "assumptions": list(assumptions(plan)),
    }


def text(document: Mapping[str, Any]) -> str:
    """That document for people."""
    blocks = [_sums(document), _lanes(document), _gains(document), _assumed(document)]
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block)))


def _sums(document: Mapping[str, Any]) -> Iterator[str]:
    what = "" if document["sources"] else "what is left of "
    yield f"plan for {what}backfill {legible(document['name'])}; nothing was started"
    yield f"  videos  {document['videos']:,}" + (
        f", and {document['skipped']:,} that will be skipped at no cost" if document["skipped"] else ""
    )
    yield f"  length  {document['minutes'] / 60:,.1f} hours of video"
    yield f"  cost    {usd(document['cost_usd'])}"
    if reach := document["reach"]:
        yield f"  budget  {_reach(document, reach)}"
    yield f"  time    {duration(document['seconds'])}"
    yield f"  binds   {_binds(document)}"
    if any(lane["is_held_back"] for lane in document["lanes"]):
        yield "          starts will be held back: results would expire before they are read"


def _reach(document: Mapping[str, Any], reach: Mapping[str, Any]) -> str:
    if document["binds"] != "budget":
        return f"{usd(document['budget_usd'])} is enough"
    how_far = f"{usd(document['budget_usd'])} reaches {reach['videos']:,} of {counted(document['videos'], 'video')}"
    return f"{how_far}, in {duration(reach['seconds'])}"


def _binds(document: Mapping[str, Any]) -> str:
    lane = next((lane for lane in document["lanes"] if lane["name"] == document["lane"]), None)
    if lane is None:
        return "nothing: there is nothing to do"
    beyond = "the budget; beyond it " if document["binds"] == "budget" else ""
    if document["quota"] is None:
        return f"{beyond}no quota of lane {lane['name']}: the longest jobs decide"
    return f"{beyond}{QUOTAS[document['quota']]} of lane {lane['name']}, {lane['used'][document['quota']]:.0%} in use"


def _lanes(document: Mapping[str, Any]) -> Iterator[str]:
    """Where there are several; the one that ends last decides."""
    if len(document["lanes"]) < 2:
        return
    head = ["lane", "region", "registered", "starts", "time"]
    rows = [
        [lane["name"], lane["region"], f"{lane['videos']:,}", f"{lane['starts']:,}", duration(lane["seconds"])]
        for lane in document["lanes"]
    ]
    yield aligned([head, *rows], right=(2, 3))


def _gains(document: Mapping[str, Any]) -> Iterator[str]:
    """What more of each quota of the deciding lane would bring."""
    if not document["gains"]:
        return
    yield f"with twice as much on lane {document['lane']}:"
    yield textwrap.indent(aligned([_gain(gain, document["seconds"]) for gain in document["gains"]], right=(1,)), "  ")


def _gain(gain: Mapping[str, Any], seconds: float) -> list[str]:
    helps = gain["seconds"] < seconds * HELPS
    time = f"{duration(seconds)} -> {duration(gain['seconds'])}" if helps else "no gain"
    return [QUOTAS[gain["quota"]], f"{gain['now']:,.10g} -> {gain['then']:,.10g}", time]


def _assumed(document: Mapping[str, Any]) -> Iterator[str]:
    yield "assumed:"
    for sentence in document["assumptions"]:
        yield textwrap.fill(sentence, COLUMNS, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)

"""Hostile notices, pages and manifest lines end in a refusal with a reason, and their neighbours go on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from tests.system.hostile import rehearse
from tests.system.site import Site

INPUTS = 2_000


async def test_hostile_inputs_end_with_a_reason_and_their_neighbours_go_on(site: Site, fresh_url: Callable[[], str]):
    """Whatever messages, pages and lines hold, no worker ends for them, and everything true is settled as it is."""
    seed = random.randrange(2**32)
    print(f"seed {seed}: python -m tests.system.hostile --inputs {INPUTS} --seed {seed}")
    report = await rehearse(fresh_url(), site, seed, INPUTS)
    print(json.dumps(report))
    assert report["findings"] == []
    assert len(report["met_by_the_worker"]) > 20

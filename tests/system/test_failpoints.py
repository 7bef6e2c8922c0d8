"""A process dies or loses an answer at a place of the protocol: nothing is lost, nothing doubled, nothing paid twice.

`make soak` goes through all of them; here a seeded sample is drawn.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from tests.system.crashes import Crash, Recovery, crash_and_recover, crash_site, places, sample
from tests.system.site import ROOT

CRASHES_A_TEST = 5


@pytest.mark.parametrize("share", range(4))
async def test_crash_at_a_failpoint_leaves_true_books(share: int, fresh_url: Callable[[], str], tmp_path: Path):
    """Whatever place a worker dies at, or loses an answer at, another one ends its work and the books are true."""
    seed = random.randrange(2**32)
    print(f"share {share}, seed {seed}")
    recoveries = await _recover_from(sample(random.Random(seed), CRASHES_A_TEST), fresh_url, tmp_path)
    for recovery in recoveries:
        print(f"{recovery.crash}: happened {recovery.happened}, {recovery.seconds:.1f} s")
    assert not [(str(recovery.crash), recovery.wrong, recovery.logs) for recovery in recoveries if recovery.wrong]
    assert any(recovery.happened for recovery in recoveries)


async def _recover_from(crashes: list[Crash], fresh_url: Callable[[], str], folder: Path) -> list[Recovery]:
    recoveries: list[Recovery] = []
    with ExitStack() as sites:
        prepared = []
        for number, crash in enumerate(crashes):
            (folder / str(number)).mkdir()
            site = crash_site(folder / str(number), fresh_url(), folder / "data", f"lane{number}")
            prepared.append((sites.enter_context(site), crash))
        prepared[0][0].service()

        async def recover(site, crash) -> None:
            recoveries.append(await crash_and_recover(site, crash))

        async with anyio.create_task_group() as all_at_once:
            for site, crash in prepared:
                all_at_once.start_soon(recover, site, crash)
    return recoveries


def test_every_place_of_the_code_is_in_the_list_of_crash_points():
    """A commit or a call that the code gains cannot be forgotten."""
    named = {place.partition(": ")[0] for place in places()}
    in_code = {name for path in (ROOT / "worker").rglob("*.py") for name in PLACE.findall(path.read_text())}
    assert in_code - named == ELSEWHERE
    assert named - in_code == CALLED_BY_VARIABLE


PLACE = re.compile(r'\b(?:transaction|commit|around|unpaced_call)\((?:\s*connection, )?\s*"(\w+)"')
ELSEWHERE = {"move_intent_to_channel", "drop_pages"}  # each has tests of its own
CALLED_BY_VARIABLE = {"HeadObject", "StartContentModeration", "GetContentModeration"}

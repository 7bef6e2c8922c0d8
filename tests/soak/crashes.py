"""Every failpoint, killed and with its answer lost, at its first and its second passing."""

from __future__ import annotations

import random
import time

import anyio

from tests.soak.ground import ground, printed, told
from tests.system.crashes import Crash, Recovery, all_crashes, crash_and_recover, crash_site, places

AT_ONCE = 6


async def run(seed: int) -> int:
    """Go through all of them, in an order that the seed gives."""
    began_at = time.monotonic()
    crashes = all_crashes()
    random.Random(seed).shuffle(crashes)
    recoveries: list[Recovery] = []
    async with ground() as here:
        data_dir = here.folder / "data"
        limiter = anyio.CapacityLimiter(AT_ONCE)
        keeper = crash_site(_folder(here.folder, "keeper"), await here.database(), data_dir, "keeper")
        with keeper:
            keeper.service()

            async def recover(number: int, crash: Crash) -> None:
                async with limiter:
                    folder, url = _folder(here.folder, str(number)), await here.database()
                    with crash_site(folder, url, data_dir, f"lane{number}") as site:
                        recoveries.append(await crash_and_recover(site, crash))
                if len(recoveries) % 20 == 0:
                    told(f"{len(recoveries)} of {len(crashes)} crashes")

            async with anyio.create_task_group() as all_crashes_at_once:
                for number, crash in enumerate(crashes):
                    all_crashes_at_once.start_soon(recover, number, crash)
    happened = {recovery.crash.place for recovery in recoveries if recovery.happened}
    return printed(
        "crashes",
        began_at,
        seed=seed,
        places=len(places()),
        crashes=len(recoveries),
        happened=sum(recovery.happened for recovery in recoveries),
        places_never_reached=sorted(set(places()) - happened),
        wrong=[f"{recovery.crash}: {recovery.wrong}" for recovery in recoveries if recovery.wrong],
    )


def _folder(parent, name):
    (parent / name).mkdir()
    return parent / name

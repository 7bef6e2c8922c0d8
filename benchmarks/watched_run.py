"""`modworker run --config CONFIG` in this process, its event loop watched: prints when it stood still, and how long.

`python -m benchmarks.watched_run CONFIG`. A task wakes up every other millisecond. What it comes too late is how long
the loop was busy with something else, waited for another thread, or for a core of the machine; the kernel tells how
long it waited for a core, and that is no fault of the program's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import anyio
from msgspec import Struct, json

from worker import log
from worker.cli.work import run

TICK_SECONDS = 0.002
NOTED_MS = 5.0


class Standstill(Struct, frozen=True):
    """The loop took nothing up for so long, and for `own_ms` of it not for want of a core."""

    ended_at: float  # seconds of the epoch
    ms: float
    own_ms: float


async def main() -> None:
    """Run until told to stop."""
    log.configure(json_lines=True)
    standstills: list[Standstill] = []
    async with anyio.create_task_group() as watching:
        watching.start_soon(watch, standstills)
        await run(config=Path(sys.argv[1]))
        watching.cancel_scope.cancel()
    print(json.encode(standstills).decode())


async def watch(standstills: list[Standstill]) -> None:
    """Take down every standstill that is worth it."""
    with Path("/proc/thread-self/schedstat").open("rb", buffering=0) as waits:

        def waited_ms() -> float:
            waits.seek(0)
            return int(waits.read().split()[1]) / 1e6

        while True:
            due_at, waited_before_ms = time.perf_counter() + TICK_SECONDS, waited_ms()
            await anyio.sleep(TICK_SECONDS)
            late_ms = (time.perf_counter() - due_at) * 1000
            if late_ms >= NOTED_MS:
                own_ms = max(0.0, late_ms - (waited_ms() - waited_before_ms))
                standstills.append(Standstill(time.time(), round(late_ms, 1), round(own_ms, 1)))


if __name__ == "__main__":
    anyio.run(main)

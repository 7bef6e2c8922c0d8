"""`python -m tests.soak NAME…`: the long runs by name; without any, all of them, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Awaitable, Callable

from tests.soak import crashes, database_kills, denied, kills, memory, notices, outages, restores, signals, starts

PROGRAMS: dict[str, Callable[[float, int], Awaitable[int]]] = {
    "crashes": lambda _, seed: crashes.run(seed),
    "kills": lambda scale, seed: kills.run(kills=round(1000 * scale), seed=seed, videos=round(26_000 * scale)),
    "starts": lambda scale, seed: starts.run(videos=round(50_000 * scale), seed=seed),
    "notices": lambda scale, seed: notices.run(videos=round(2_000 * scale), seed=seed),
    "outages": lambda _, seed: outages.run(seed),
    "restores": lambda _, seed: restores.run(seed),
    "signals": lambda scale, seed: signals.run(
        terms=round(200 * scale), kills=round(20 * scale), seed=seed, videos=round(20_000 * scale)
    ),
    "denied": lambda scale, _: denied.run(seconds=90 * scale),
    "database": lambda scale, _: database_kills.run(seconds=600 * scale),
    "memory": lambda scale, _: memory.run(videos=round(100_000 * scale)),
}


def main() -> int:
    """Run the programs that were named."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PROGRAMS, []], metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers in docs/reliability.md")
    asked = parser.parse_args()
    codes = [asyncio.run(PROGRAMS[name](asked.scale, asked.seed)) for name in asked.names or PROGRAMS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

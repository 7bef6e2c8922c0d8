"""Explores two videos in every way that so many faults allow.

`python -m tests.model.explore [--faults 2] [--scope NAME]` prints one JSON object; exit code 1 where the protocol is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from tests.model.explorer import Explored, explorer
from tests.model.scopes import Scope
from tests.postgres import fresh_database, servers, throwaway_server
from worker.store.migrate import migrate

DEPLOYMENT = "default"


async def explore(scope: Scope) -> Explored:
    """Explore on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with throwaway_server(servers()[0], Path(folder)) as server:
            url = await fresh_database(server)
            connection = await asyncpg.connect(url)
            await migrate(connection, DEPLOYMENT)
            await connection.close()
            async with explorer(scope, url) as exploration:
                return await exploration.explore()


def main() -> int:
    """Read the command line, explore, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--keys", default="a.mp4,b.mp4")
    arguments = parser.parse_args()
    scope = Scope("x", keys=tuple(tuple(k.split(",")) for k in arguments.keys.split("/")), most_faults=arguments.faults)
    if arguments.only:
        from msgspec.structs import replace

        scope = replace(scope, faults=tuple(arguments.only))
    begun = time.monotonic()
    explored = asyncio.run(explore(scope))
    seconds = time.monotonic() - begun
    print(
        json.dumps(
            {
                "states": explored.states,
                "transitions": explored.transitions,
                "ends": explored.ends,
                "contents": explored.contents,
                "calls": explored.calls,
                "seconds": round(seconds, 1),
                "violations": len(explored.violations),
            }
        )
    )
    for v in explored.violations:
        print(v)
    return 1 if explored.violations else 0


if __name__ == "__main__":
    sys.exit(main())

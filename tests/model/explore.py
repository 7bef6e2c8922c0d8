"""Explores the protocol in every order of steps that so many faults allow, beyond what the tests have time for.

`python -m tests.model.explore [--faults 1] [--scope "two videos"]` prints one JSON object; exit code 1 where the
protocol is broken: then `violations` tells how, step by step.
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
from msgspec.structs import asdict, replace

from tests.conftest import DEPLOYMENT
from tests.model.explorer import Explored, explorer
from tests.model.scopes import LARGE, Scope
from tests.postgres import fresh_database, servers, throwaway_server
from worker.store.migrate import migrate


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
    scopes = {scope.name: scope for scope in LARGE}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1, help="at most so many on each way (1)")
    parser.add_argument("--scope", choices=scopes, default="two videos", help="what is explored (two videos)")
    arguments = parser.parse_args()
    scope = replace(scopes[arguments.scope], most_faults=arguments.faults)
    begun = time.monotonic()
    explored = asyncio.run(explore(scope))
    seconds = round(time.monotonic() - begun, 1)
    print(json.dumps({"scope": scope.name, "faults": scope.most_faults, **asdict(explored), "seconds": seconds}))
    return 1 if explored.violations else 0


if __name__ == "__main__":
    sys.exit(main())

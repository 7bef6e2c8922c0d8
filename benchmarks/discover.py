"""Objects a second from a manifest into the database, in the order of keys and shuffled, and the memory that it takes.

`python -m benchmarks.discover [--inventory] [--quick]` prints one JSON object. Each manifest is registered by
`modworker enqueue`, a process of its own, into a fresh database on the server that the product embeds; manifests in the
two orders take turns. A rate is of the whole command, from its start to its end: starting Python and reading the
manifest twice included. Memory is the highest that the process ever had resident, as the kernel tells it.

With `--inventory` the sources are S3 Inventories of the same objects in its three formats, read from the local service.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct, json

from benchmarks.inventories import FORMATS, MANIFEST, Line, write_inventory
from benchmarks.rig import Rig, machine, median, open_rig, watched
from worker.local.child import publish_folder

BUCKET = "synthetic-archive"
FILES = 4  # of an inventory
INVENTORY_PEAK_MB = 300  # the libraries that read Parquet and ORC are 60 of it
TARGETS = {"in_order_a_second": 80_000, "shuffled_a_second": 40_000, "peak_mb": 200}


class Plan(Struct, frozen=True):
    """How much to measure."""

    objects: int  # of the manifests that take turns
    many: int  # of the largest one, in order
    rounds: int


FULL = Plan(objects=1_000_000, many=10_000_000, rounds=3)
QUICK = Plan(objects=30_000, many=60_000, rounds=1)


class Registered(Struct, frozen=True):
    """What one command took."""

    objects: int
    seconds: float
    cpu_seconds: float
    peak_mb: float

    @property
    def a_second(self) -> float:
        """Objects a second of the whole command."""
        return self.objects / self.seconds


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Objects registered a second, from a manifest.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the rates mean nothing")
    parser.add_argument("--inventory", action="store_true", help="S3 Inventories in place of manifests")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    async with open_rig(lane={}, local={"videos": 1}) as rig:
        about = await machine(rig.server_url)
        service_url = rig.serve("-m", "worker", "serve", "--config")
        await rig.migrated()
        result = await (from_inventories if arguments.inventory else from_manifests)(rig, service_url, plan)
    print(json.format(json.encode(about | result), indent=2).decode())


async def from_manifests(rig: Rig, service_url: str, plan: Plan) -> dict[str, Any]:
    """Manifests in both orders, and a large one."""
    paths = manifests(rig, plan.objects)
    rounds = [
        {order: await register(rig, service_url, str(path), plan.objects) for order, path in paths.items()}
        for _ in range(plan.rounds)
    ]
    largest = write(rig.folder / "largest.csv", range(plan.many))
    return report(rounds, await register(rig, service_url, str(largest), plan.many))


async def from_inventories(rig: Rig, service_url: str, plan: Plan) -> dict[str, Any]:
    """An inventory of each format."""
    sources = {}
    for name in FORMATS:
        lines = (Line(BUCKET, key_of(n), f"{n:031x}", size=10**8 + n, e_tag=f"{n:032x}") for n in range(plan.objects))
        folder = rig.folder / f"inventory-{name.lower()}"
        write_inventory(folder, name, lines, bucket=BUCKET, lines_a_file=-(-plan.objects // FILES))
        sources[name] = f"inventory:s3://{await publish_folder(service_url, folder)}/{MANIFEST}"
    rounds = [
        {name: await register(rig, service_url, source, plan.objects) for name, source in sources.items()}
        for _ in range(plan.rounds)
    ]
    return {
        "benchmark": "discover --inventory",
        "objects": plan.objects,
        "rounds": len(rounds),
        "a_second": {name: round(median(taken[name].a_second for taken in rounds)) for name in FORMATS},
        "cpu_us_an_object": {
            name: median(taken[name].cpu_seconds * 1e6 / plan.objects for taken in rounds) for name in FORMATS
        },
        "peak_mb": {name: max(taken[name].peak_mb for taken in rounds) for name in FORMATS},
        "targets": {"peak_mb": INVENTORY_PEAK_MB},
    }


def report(rounds: Sequence[dict[str, Registered]], many: Registered) -> dict[str, Any]:
    """Medians of the rounds."""
    orders = list(rounds[0])
    return {
        "benchmark": "discover",
        "objects": rounds[0]["in_order"].objects,
        "rounds": len(rounds),
        "a_second": {order: round(median(taken[order].a_second for taken in rounds)) for order in orders},
        "cpu_us_an_object": {
            order: median(taken[order].cpu_seconds * 1e6 / taken[order].objects for taken in rounds) for order in orders
        },
        "shuffled/in_order": median(taken["shuffled"].a_second / taken["in_order"].a_second for taken in rounds),
        "peak_mb": max(one.peak_mb for taken in rounds for one in taken.values()),
        "largest": {"objects": many.objects, "a_second": round(many.a_second), "peak_mb": many.peak_mb},
        "targets": TARGETS,
    }


def manifests(rig: Rig, objects: int) -> dict[str, Path]:
    """The same objects in the order of their keys, and shuffled."""
    numbers = list(range(objects))
    in_order = write(rig.folder / "in-order.csv", numbers)
    random.Random(1).shuffle(numbers)
    return {"in_order": in_order, "shuffled": write(rig.folder / "shuffled.csv", numbers)}


def write(path: Path, numbers: Iterable[int]) -> Path:
    """A manifest as an inventory's rows would give it: keys of 32 bytes, with ETag and size."""
    with path.open("w") as file:
        file.write("bucket,key,etag,size_bytes\n")
        file.writelines(f"{BUCKET},{key_of(n)},{n:032x},{10**8 + n}\n" for n in numbers)
    return path


def key_of(number: int) -> str:
    """The key of an object."""
    return f"2026/camera-{number // 1000:06}/{number:09}.mp4"


async def register(rig: Rig, service_url: str, source: str, objects: int) -> Registered:
    """Register a source in a database of its own, which must have all of it afterwards."""
    name = "registered"
    database_url = await rig.database(name)
    config = rig.config(database_url, service_url)
    begun_at = time.monotonic()
    process = rig.worker("enqueue", source, config=config)
    cpu, peak_mb = watched(process)
    seconds = time.monotonic() - begun_at
    rig.output(process)
    connection = await asyncpg.connect(database_url)
    registered = await connection.fetchval("select sum(pending) from tally")
    await connection.close()
    await rig.drop(name)
    assert registered == objects, f"{registered} of {objects} objects were registered"
    return Registered(objects, seconds, cpu, peak_mb)


if __name__ == "__main__":
    asyncio.run(main())

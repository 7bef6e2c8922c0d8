"""Labels a second from the database into files of each format, and the memory that it takes.

`python -m benchmarks.export [--quick]` prints one JSON object. The database holds ten million settled labels of ten
thousand videos; each format is written once by `modworker export`, a process of its own. Seconds are of the whole
command, from its start to its end. Memory is the highest that the process ever had resident, as the kernel tells it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct, json

from benchmarks.rig import Rig, machine, open_rig, watched
from benchmarks.stored import LABELS_A_JOB, store
from worker.local.analysts.taxonomy import TAXONOMY

FORMATS = ("parquet", "csv", "jsonl")
LABELS = 10_000_000
QUICK_LABELS = 100_000
NOWHERE = "http://127.0.0.1:1"  # nothing of AWS is asked
BYTES_PER_MB = 1_000_000
TARGETS = {"peak_mb": 300}
LANE = """
insert into lane (name, region) values ('main', 'us-east-1');
insert into channel (lane_id, topic_arn, role_arn) select id, 'topic', 'role' from lane;
"""


class Exported(Struct, frozen=True):
    """What one export took."""

    seconds: float
    cpu_us_a_label: float
    labels_a_second: int
    peak_mb: float
    file_mb: float


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Labels a second from the database into files.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the rates mean nothing")
    labels = QUICK_LABELS if parser.parse_args().quick else LABELS
    async with open_rig(lane={}, local={}) as rig:
        about = await machine(rig.server_url)
        await rig.migrated((label.name, label.parent, label.level) for label in TAXONOMY)
        database_url = await rig.database("labels")
        await fill(database_url, labels)
        config = rig.config(database_url, NOWHERE)
        formats = {name: export(rig, config, name, labels) for name in FORMATS}
    print(json.format(json.encode(about | report(labels, formats)), indent=2).decode())


def report(labels: int, formats: Mapping[str, Exported]) -> dict[str, Any]:
    """The result."""
    return {"benchmark": "export", "labels": labels, "formats": formats, "targets": TARGETS}


async def fill(database_url: str, labels: int) -> None:
    """Store the labels."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(LANE)
    await store(connection, jobs=labels // LABELS_A_JOB, labels=LABELS_A_JOB)
    await connection.close()


def export(rig: Rig, config: Path, name: str, labels: int) -> Exported:
    """Write all labels in one format; the command must say that it has."""
    path = rig.folder / f"labels.{name}"
    begun_at = time.monotonic()
    process = rig.worker("export", "--name", "stored", "--to", str(path), config=config)
    cpu, peak_mb = watched(process)
    seconds = time.monotonic() - begun_at
    said = rig.output(process)
    assert f"{labels:,} labels written" in said, said
    file_mb = path.stat().st_size / BYTES_PER_MB
    path.unlink()
    return Exported(
        round(seconds, 1), round(cpu / labels * 1e6, 2), round(labels / seconds), peak_mb, round(file_mb, 2)
    )


if __name__ == "__main__":
    asyncio.run(main())

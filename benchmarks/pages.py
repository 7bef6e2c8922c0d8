"""Processor time of one viewer of the status page and one scraper of /metrics, with a whole archive registered.

`python -m benchmarks.pages [--quick] [--videos N]` prints one JSON object. A worker that has nothing to do is measured
twice, together with its PostgreSQL: left alone, and looked at as the page and Prometheus do. What the second takes more
is the viewer's and the scraper's. The archive is stored by SQL: nine tenths done, one twentieth ended for one of twenty
reasons, the rest pending in a paused backfill; the lane has settled as many jobs in the last ten minutes as 5 starts a
second are.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import aiohttp
import asyncpg
from msgspec import json

from benchmarks.rig import Rig, cpu_seconds, machine, open_rig, stop

VIDEOS, VIDEOS_QUICK = 1_000_000, 20_000
SECONDS, SECONDS_QUICK = 60.0, 4.0
STATUS_SECONDS, HISTORY_SECONDS, SCRAPE_SECONDS = (
    2.0,
    5.0,
    5.0,
)  # as worker/web/files/status.js; Prometheus asks seldomer
LATELY = 3000  # jobs settled in the last ten minutes
TARGET_SHARE = 0.01  # of a core
RESTING_SECONDS = 6.0  # until the worker has done what it does once

STORE = (
    """
    insert into backfill (name, min_confidence, edition, aggregate_by, price_usd_per_minute, expected_minutes_per_gb,
                          budget_rule, max_generations, paused_at, pause_reason)
    values ('archive', 50, '', 'TIMESTAMPS', 0.1, 20, 'expected', 2, now(), 'for the benchmark')
    """,
    """
    insert into video (id, job_id, claim_order, registered_at, claimed_at, settled_at, backfill_id, lane_id, state,
                       bucket, key, reason)
    overriding system value
    select n, case when n % 20 <> 19 then n end, n, now(), now(), case when n % 20 <> 19 then now() end, b.id, l.id,
           case n % 20 when 19 then 'pending' when 18 then 'failed' else 'done' end, 'archive',
           'videos/' || n || '.mp4',
           case n % 20 when 18 then 'reason ' || n / 20 % 20 end
      from generate_series(1, {videos}) n, backfill b, lane l
    """,
    """
    insert into job (id, size_bytes, started_at, due_at, ready_at, settled_at, detections, video_id, backfill_id,
                     lane_id, channel_id, generation, state, aggregate_by, min_confidence, identity, tag, token, bucket,
                     key, aws_job_id)
    overriding system value
    select v.id, 1000000000, now(), now(), now(), now(), 1000, v.id, v.backfill_id, v.lane_id, c.id, 1, 'done',
           'TIMESTAMPS', 50, sha256(v.id::text::bytea), 'tag' || v.id, 'token' || v.id, v.bucket, v.key, 'aws' || v.id
      from video v, channel c where v.state = 'done' order by v.id limit {lately}
    """,
    """
    insert into tally (backfill_id, lane_id, pending, done, failed, labels)
    select backfill_id, lane_id, count(*) filter (where state = 'pending'), count(*) filter (where state = 'done'),
           count(*) filter (where state = 'failed'), 1000 * count(*) from video group by 1, 2
    """,
    "vacuum analyze",
)


async def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description="Processor time of a viewer and a scraper of the worker's pages.")
    parser.add_argument("--quick", action="store_true", help=f"{VIDEOS_QUICK} videos for {SECONDS_QUICK:g} s")
    parser.add_argument("--videos", type=int, help=f"registered ones, instead of {VIDEOS}")
    arguments = parser.parse_args()
    videos = arguments.videos or (VIDEOS_QUICK if arguments.quick else VIDEOS)
    seconds = SECONDS_QUICK if arguments.quick else SECONDS
    async with open_rig(lane={}, local={"videos": 1}) as rig:
        about = await machine(rig.server_url)
        measured = await looked_at(rig, videos, seconds)
    result = {"benchmark": "pages", "videos": videos, "seconds": seconds, **measured, "target_share": TARGET_SHARE}
    print(json.format(json.encode(about | result), indent=2).decode())


async def looked_at(rig: Rig, videos: int, seconds: float) -> dict[str, Any]:
    """The shares of a core that worker and database take alone and looked at, and what the difference is."""
    service_url = rig.serve("-m", "worker", "serve", "--config")
    await rig.migrated()
    database_url = await rig.database("pages")
    config = rig.config(database_url, service_url, worker={"http_listen": "127.0.0.1:0"})
    worker = rig.worker("run", config=config)
    connection = await asyncpg.connect(database_url)
    await rig.until_true(worker, connection, "select count(*) > 0 from channel")
    for statement in STORE:
        await connection.execute(statement.format(videos=videos, lately=min(LATELY, videos // 2)))
    server = parent_of(await connection.fetchval("select pg_backend_pid()"))
    url = rig.pages_url(worker)
    await asyncio.sleep(RESTING_SECONDS)
    alone = await shares(worker, server, seconds)
    looks = {"status": 0, "history": 0, "metrics": 0}
    async with aiohttp.ClientSession(url) as session, asyncio.TaskGroup() as viewers:
        tasks = [
            viewers.create_task(look(session, looks, name, path, every))
            for name, path, every in (
                ("status", "/api/status", STATUS_SECONDS),
                ("history", f"/api/history?after={time.time()}", HISTORY_SECONDS),
                ("metrics", "/metrics", SCRAPE_SECONDS),
            )
        ]
        await asyncio.sleep(RESTING_SECONDS)
        seen = await shares(worker, server, seconds)
        for task in tasks:
            task.cancel()
    await connection.close()
    stop(worker)
    more = {name: round(seen[name] - alone[name], 4) for name in alone}
    return {"looks": looks, "share_alone": alone, "share_looked_at": seen, "share_more": more}


async def look(session: aiohttp.ClientSession, looks: dict[str, int], name: str, path: str, seconds: float) -> None:
    """Ask again and again."""
    while True:
        async with session.get(path) as response:
            assert response.status == 200, await response.text()
            await response.read()
        looks[name] += 1
        await asyncio.sleep(seconds)


async def shares(worker: Popen[str], server: int, seconds: float) -> dict[str, float]:
    """The part of a core that the worker and the database server take in the next seconds."""
    before = cpu_seconds(worker.pid), cpu_of_server(server)
    await asyncio.sleep(seconds)
    after = cpu_seconds(worker.pid), cpu_of_server(server)
    share = [round((now - then) / seconds, 4) for now, then in zip(after, before, strict=True)]
    return {"worker": share[0], "database": share[1], "both": round(sum(share), 4)}


def parent_of(pid: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cpu_of_server(postmaster: int) -> float:
    """The processor time of a PostgreSQL server: its processes that are, and those that have ended."""
    ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
    children = [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
    living = sum(cpu_seconds(pid) for pid in (postmaster, *children))
    return living + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    asyncio.run(main())

"""Hostile notices, pages and manifest lines against the worker: each ends with a reason, and its neighbours go on.

    python -m tests.system.hostile --inputs 20000 --seed 7

prints one JSON object: what was tried, and what was found wrong; nothing is the only good finding.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import asyncpg
from botocore.exceptions import ClientError, ParamValidationError
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from tests.postgres import fresh_database, servers, throwaway_server
from tests.store.steps import Steps, aws_job_id, page, seen
from tests.system.hostile_front import hostile_front
from tests.system.hostile_inputs import (
    ENDLESS,
    PAGES,
    TOO_LARGE,
    hostile_body,
    hostile_line,
    hostile_message,
    hostile_page,
)
from tests.system.site import Site, jobs_faster
from tests.system.truth import labels_at_service, labels_in, paid_by, rows_in, starts_by_object
from worker.aws.manifests import BadRow, read_json_lines
from worker.aws.notices import Foreign, Unreadable, read_message
from worker.aws.rekognition import page_of
from worker.errors import UnreadableError, Verdict
from worker.local.analysts.bucket_names import ARCHIVE_BUCKET
from worker.metrics import Metrics
from worker.model import Failure, Notice, Page
from worker.pipeline.write import Writer
from worker.store.database import open_database
from worker.store.jobs import Aside
from worker.store.leases import LaneHolder
from worker.store.migrate import migrate
from worker.store.reports import Reports

ARCHIVE = f"s3://{ARCHIVE_BUCKET}/"
AT_ONCE = 100  # videos that are claimed
NEIGHBOURS = 0.25  # true pages among the hostile ones
NAME = "hostile"
MOST_ASIDE = 1_000  # pages of a lane, as the statement that keeps them has it
PAUSED = 3  # the exit code of a backfill that has stopped with work left
RUN_SECONDS = 900  # for a backfill, in the longest of runs

FAULTS = {
    "calls": [
        {"fault": "truncated", "share": 0.03},
        {"fault": "malformed", "share": 0.03, "operations": ["ReceiveMessage", "GetContentModeration", "HeadObject"]},
        {"fault": "malformed", "share": 0.03, "operations": ["StartContentModeration", "DeleteMessageBatch"]},
    ],
    "notices": [{"fault": "unreadable", "share": 0.1}, {"fault": "foreign", "share": 0.1}],
}


TRUE_PAGE: dict[str, Any] = {
    "JobStatus": "SUCCEEDED",
    "VideoMetadata": {"Codec": "h264", "DurationMillis": 60_000, "FrameRate": 25.0},
    "ModerationModelVersion": "7.0",
    "ModerationLabels": [
        {
            "Timestamp": 1_000 * n,
            "ModerationLabel": {"Name": "Weapons", "ParentName": "Violence", "Confidence": 90.0, "TaxonomyLevel": 2},
            "ContentTypes": [],
        }
        for n in range(20)
    ],
}


class Shares(Struct, frozen=True):
    """How many inputs of each kind."""

    messages: int
    pages: int
    lines: int
    served: int  # pages and bodies of messages that a whole worker meets

    @classmethod
    def of(cls, inputs: int) -> Shares:
        served = inputs // 10
        pages, lines = inputs * 25 // 100, inputs * 15 // 100
        return cls(inputs - pages - lines - served, pages, lines, served)


def batched(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Runs of at most so many."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


class Findings:
    """What was found wrong."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def expect(self, is_true: object, otherwise: str) -> None:
        """Note what is not as it should be."""
        if not is_true:
            self.all.append(otherwise[:500])


async def messages_end(steps: Steps, owner: LaneHolder, rng: random.Random, count: int, findings: Findings) -> None:
    """Read messages and act on them, as the stage does that hears them; true ones among them are heard."""
    backfill = await steps.backfill("messages")
    true = [
        job
        for keys in batched([f"m{n}.mp4" for n in range(1 + count // 10)], AT_ONCE)
        for job in await steps.running(owner, backfill, keys)
    ]
    waiting = [Notice(aws_job_id(job.id), "receipt", 1) for job in true]
    for _ in range(count):
        kind, message = hostile_message(rng)
        try:
            match read_message(message):
                case Unreadable() as unreadable:
                    findings.expect(unreadable.reason, f"{kind}: without a reason")
                    await steps.jobs.quarantine(
                        owner.lane_id, unreadable.message_id, unreadable.body, unreadable.reason
                    )
                case Notice() as notice:
                    neighbours = [waiting.pop()] if waiting else []
                    marked = await steps.jobs.mark_finished(owner.lane_id, [notice, *neighbours])
                    findings.expect(len(marked.job_ids) == len(neighbours), f"{kind}: marked {marked}")
                case Foreign():
                    pass
        except Exception as error:  # noqa: BLE001 (each is a finding)
            findings.expect(None, f"message, {kind}: {error!r}")
    await steps.jobs.mark_finished(owner.lane_id, waiting)
    ready = await steps.value("select count(*) from job where state = 'ready'")
    findings.expect(ready == len(true), f"{len(true)} true notices were among the messages, {ready} were heard")


async def pages_end(steps: Steps, owner: LaneHolder, rng: random.Random, count: int, findings: Findings) -> None:
    """Read pages and write them, as the stages do; true ones are among them."""
    backfill = await steps.backfill("pages")
    job_ids = [
        job_id
        for keys in batched([f"p{n}.mp4" for n in range(count)], AT_ONCE)
        for job_id in await steps.ready(owner, backfill, keys)
    ]
    pages: list[Page] = []
    ends: dict[int, str] = {}
    for job_id in job_ids:
        if rng.random() < NEIGHBOURS:
            ends[job_id] = "done"
            pages.append(page(job_id, detections=seen(5)))
            continue
        ends[job_id] = "failed"
        pages += await _read(steps, rng, job_id, findings)
    await _write(steps, pages)
    asides = 0
    for job_id, state, reason, is_aside in await steps.rows(
        "select j.id, j.state, j.reason, a.job_id is not null"
        "  from job j left join page_aside a on a.job_id = j.id where j.id = any($1)",
        job_ids,
    ):
        findings.expect(state == ends[job_id], f"job {job_id} should be {ends[job_id]}, is {state} ({reason})")
        is_failed = ends[job_id] == "failed"
        asides += is_aside
        findings.expect(is_failed or not is_aside, f"job {job_id} ({state}) has a page aside")
        findings.expect((reason or "").startswith("unreadable result") == is_failed, f"job {job_id}: {reason}")
    failed = Counter(ends.values())["failed"]
    findings.expect(asides == min(failed, MOST_ASIDE), f"{failed} jobs have failed, {asides} pages were kept aside")


async def _read(steps: Steps, rng: random.Random, job_id: int, findings: Findings) -> list[Page]:
    """The page to write of a hostile one; none where it cannot be read, and the job has failed for it."""
    kind = rng.choice(sorted(PAGES.keys() - {"of others"}))  # which only the job that it was asked for tells
    hostile = hostile_page(rng, TRUE_PAGE, kind)
    try:
        answer = page_of(hostile.content)
    except UnreadableError as error:
        findings.expect(error.verdict in (Verdict.RETRY, Verdict.JOB_FAILED), f"page, {kind}: {error.verdict}")
        failure = Failure(job_id, "failed", f"unreadable result: {error.message}", "failed")
        await steps.jobs.fail(failure, Aside(1, error.body))
        return []
    except Exception as error:  # noqa: BLE001 (each is a finding)
        findings.expect(None, f"page, {kind}: {error!r}")
        return []
    read = page(job_id, detections=answer.moderation_labels)
    return [
        replace(read, model_version=answer.moderation_model_version, metadata=to_builtins(answer.video_metadata) or {})
    ]


async def _write(steps: Steps, pages: Sequence[Page]) -> None:
    writer = Writer(steps.pages, steps.jobs, Metrics(), lambda _job_id: None)
    sender, receiver = anyio.create_memory_object_stream[Page](len(pages))
    for each in pages:
        sender.send_nowait(each)
    sender.close()
    await writer.run(receiver)


async def lines_end(steps: Steps, owner: LaneHolder, rng: random.Random, count: int, findings: Findings) -> None:
    """Read lines and register what they name."""
    backfill = await steps.backfill("lines")
    lines = [hostile_line(rng, number) for number in range(1, count + 1)]
    rows = list(read_json_lines(io.BytesIO(b"\n".join(line.content for line in lines)), "lines.jsonl"))
    findings.expect(len(rows) == count, f"{count} lines gave {len(rows)} rows")
    for line, row in zip(lines, rows, strict=False):
        key = None if isinstance(row, BadRow) else row.key
        findings.expect(key == line.key, f"line, {line.kind}: {row}")
    named = [(row, owner.lane_id) for row in rows if not isinstance(row, BadRow)]
    added = await steps.registry.add(backfill, named)
    findings.expect(added == len(named), f"{len(named)} lines name objects, {added} were registered")


async def worker_goes_on(site: Site, rng: random.Random, count: int, findings: Findings) -> Counter[str]:
    """Let a whole worker moderate an archive of which most pages are hostile, beside a queue full of other messages."""
    bodies = count // 3
    videos = round((count - bodies) / (1 - NEIGHBOURS))
    site.configure(local={"videos": videos} | jobs_faster(600))
    await anyio.to_thread.run_sync(site.service)
    keys = [entry["Key"] async for entry in _archive(site)]
    kinds = sorted([*PAGES, ENDLESS, TOO_LARGE])
    plan = {key: rng.choice(kinds) for key in rng.sample(keys, count - bodies)}
    async with hostile_front(site.service_url() or "", rng.randrange(2**32), plan) as front:
        await anyio.to_thread.run_sync(_put_faults, site, rng)
        unreadable = await anyio.to_thread.run_sync(_send, site, rng, bodies)
        done = await anyio.to_thread.run_sync(_run_to_the_end, site, front.url)
    await anyio.to_thread.run_sync(_put_faults, site, None)
    findings.expect(done.returncode == 1, f"the backfill ended with {done.returncode}: {done.stderr[-2000:]}")
    findings.expect("Traceback" not in done.stderr, f"a trace in the log: {done.stderr[-2000:]}")
    await _compare(site, plan, findings)
    quarantined = (await rows_in(site.database_url, "select count(*) from notice_quarantine where reason <> ''"))[0][0]
    findings.expect(quarantined >= unreadable, f"{unreadable} messages are unreadable, {quarantined} quarantined")
    return front.met


def _run_to_the_end(site: Site, front_url: str) -> subprocess.CompletedProcess[str]:
    """Run the backfill; where it pauses because too many videos fail, resume it."""
    through = {"MODWORKER_LANES__MAIN__ENDPOINTS__REKOGNITION": front_url}
    while True:
        done = site.run("backfill", ARCHIVE, "--name", NAME, seconds=RUN_SECONDS, environment=through)
        if done.returncode != PAUSED or "Traceback" in done.stderr:
            return done
        site.run("resume", NAME)


async def _archive(site: Site) -> AsyncIterator[dict[str, Any]]:
    pages = site.client("s3").get_paginator("list_objects_v2").paginate(Bucket=ARCHIVE_BUCKET)
    for each in await anyio.to_thread.run_sync(list, pages):
        for entry in each["Contents"]:
            yield entry


def _put_faults(site: Site, rng: random.Random | None) -> None:
    plan = {"seed": rng.randrange(2**32), **FAULTS} if rng else {}
    request = urllib.request.Request(
        f"{site.service_url()}/_faults", json.dumps(plan).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=30).close()


def _send(site: Site, rng: random.Random, count: int) -> int:
    """Send bodies to the lane's queue; gives how many of those that SQS takes are unreadable."""
    sqs = site.client("sqs")
    queue_url = sqs.create_queue(QueueName="main")["QueueUrl"]
    unreadable = 0
    for _ in range(count):
        body = hostile_body(rng).content.decode("utf-8", "replace")
        try:
            sqs.send_message(QueueUrl=queue_url, MessageBody=body)
        except (ClientError, ParamValidationError):
            continue  # empty, or with characters that SQS refuses
        unreadable += isinstance(read_message({"Body": body}), Unreadable)
    return unreadable


async def _compare(site: Site, plan: Mapping[str, str], findings: Findings) -> None:
    """Hostile videos have failed with a reason, the others have the service's labels, and everything was paid once."""
    paid = {job["job_id"]: job for job in paid_by(site)}
    hostile = asides = 0
    for row in await rows_in(
        site.database_url,
        "select v.key, v.state, v.reason, j.aws_job_id, a.size_bytes from video v join job j on j.id = v.job_id"
        "  left join page_aside a on a.job_id = j.id",
    ):
        is_hostile = row["key"] in plan and paid[row["aws_job_id"]]["status"] == "SUCCEEDED"
        said = f"{row['key']} ({plan.get(row['key'])}): {row['state']}, {row['reason']}, aside {row['size_bytes']}"
        hostile, asides = hostile + is_hostile, asides + (row["size_bytes"] is not None)
        if is_hostile:
            findings.expect(row["state"] == "failed" and row["reason"].startswith("unreadable result"), said)
        else:
            expected = "done" if paid[row["aws_job_id"]]["status"] == "SUCCEEDED" else "failed"
            findings.expect(row["state"] == expected, said)
    findings.expect(asides == min(hostile, MOST_ASIDE), f"{hostile} videos are hostile, {asides} pages aside")
    there = Counter({row: times for row, times in labels_at_service(site).items() if paid[row[0]]["key"] not in plan})
    findings.expect(await labels_in(site.database_url) == there, "the labels of true pages are not the service's")
    failed = Counter(job["key"] for job in paid.values() if job["status"] == "FAILED")
    twice = [key for (_, key), times in starts_by_object(site).items() if times > 1 + failed[key]]
    findings.expect(not twice, f"paid twice: {twice}")


async def rehearse(database_url: str, site: Site, seed: int, inputs: int) -> dict[str, Any]:
    """Try that many inputs; `database_url` is of a database that the site does not use."""
    shares, findings, rng = Shares.of(inputs), Findings(), random.Random(seed)
    begun_at = time.monotonic()
    async with open_database(database_url, deployment="default", may_migrate=False, pool_size=4) as database:
        steps = Steps(database)
        owner = await steps.own()
        await messages_end(steps, owner, rng, shares.messages, findings)
        await pages_end(steps, owner, rng, shares.pages, findings)
        await lines_end(steps, owner, rng, shares.lines, findings)
        findings.all += (await steps.reports.verify(None))[1]
    met = await worker_goes_on(site, rng, shares.served, findings)
    async with open_database(site.database_url, deployment="default", may_migrate=False, pool_size=2) as database:
        findings.all += (await Reports(database).verify(None))[1]
    return {
        "seed": seed,
        "inputs": inputs,
        **to_builtins(shares),
        "met_by_the_worker": dict(sorted(met.items())),
        "seconds": round(time.monotonic() - begun_at, 1),
        "findings": findings.all,
    }


async def _rehearse_alone(inputs: int, seed: int) -> dict[str, Any]:
    """With a throw-away database server of its own."""
    with tempfile.TemporaryDirectory(prefix="modworker-") as folder:
        async with throwaway_server(servers()[0], Path(folder)) as server:
            urls = [await _migrated(await fresh_database(server)) for _ in range(2)]
            with Site(Path(folder), urls[0]) as site:
                return await rehearse(urls[1], site, seed, inputs)


async def _migrated(url: str) -> str:
    connection = await asyncpg.connect(url)
    await migrate(connection, "default")
    await connection.close()
    return url


def main() -> None:
    """Print what was tried and found; exit code 1 for findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.hostile", description="Hostile inputs.")
    parser.add_argument("--inputs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    report = asyncio.run(_rehearse_alone(options.inputs, options.seed))
    print(json.dumps(report, indent=1))
    sys.exit(1 if report["findings"] else 0)


if __name__ == "__main__":
    main()

"""The whole examination: the database first, which knows the buckets, then all lanes side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from msgspec import Struct

from worker.app import credentials_of, open_store, with_local_service
from worker.config import Loaded, Settings
from worker.doctor import buckets, database, lane, lanes
from worker.doctor.buckets import Bucket
from worker.doctor.database import DatabaseSeen
from worker.doctor.findings import Finding, complaint, not_checked
from worker.doctor.lane import LaneReport, Surroundings
from worker.errors import DatabaseError, UsageError
from worker.pipeline.inventory import Inventory
from worker.pipeline.sources import Manifest, Prefix, parse_source, survey
from worker.store.database import TRANSIENT, Database
from worker.store.health import known_aws_job_ids

_OUT_OF_REACH: tuple[type[Exception], ...] = (DatabaseError, *TRANSIENT)


class Store(Struct, frozen=True):
    """The database, None where it cannot serve, with what it told."""

    findings: list[Finding]
    database: Database | None = None
    seen: DatabaseSeen | None = None


async def examine(loaded: Loaded, config_file: Path, sources: Sequence[str]) -> list[Finding]:
    """Examine the setup of a config file: its database, its lanes, and the buckets of sources and backfills.

    Raises:
        UsageError: for a source that is none, or if the local service does not start.

    """
    named = await anyio.to_thread.run_sync(_buckets_of_sources, sources)
    async with _opened(loaded.settings) as store, with_local_service(loaded, config_file) as settings:
        to_read = [*named, *_registered(store, {bucket.name for bucket in named})]
        reports = await _lane_reports(loaded.settings, settings, store, to_read)
    accounts = {name: report.account_id for name, report in reports.items() if report.account_id}
    known = store.seen.lanes if store.seen else []
    return [
        *store.findings,
        *lanes.judge(settings.lanes, accounts, known),
        *(finding for report in reports.values() for finding in report.findings),
        *_judge_buckets(settings, to_read, reports),
    ]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    """The database, if it can serve; lanes are examined without it as well."""
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(open_store(settings))
            seen = await database.look(opened)
            usable = None if seen.schema.missing_rights else opened
            store = Store(list(database.judge(settings, seen)), usable, seen)
        except _OUT_OF_REACH as error:
            store = Store([complaint(database.ABOUT, error)])
        yield store


async def _lane_reports(
    configured: Settings, settings: Settings, store: Store, to_read: Sequence[Bucket]
) -> dict[str, LaneReport]:
    async def known_jobs(name: str, aws_job_ids: Sequence[str]) -> set[str]:
        """All of them where nobody can tell."""
        return (
            set(aws_job_ids) if store.database is None else await known_aws_job_ids(store.database, name, aws_job_ids)
        )

    around = Surroundings(settings.aws.results_seconds, to_read, known_jobs)
    async with asyncio.TaskGroup() as examinations:
        tasks = {
            name: examinations.create_task(
                lane.examine(name, served, credentials_of(name, configured.lanes[name]), around)
            )
            for name, served in settings.lanes.items()
        }
    return {name: task.result() for name, task in tasks.items()}


def _buckets_of_sources(sources: Sequence[str]) -> list[Bucket]:
    """Each bucket once, as the first source that names it has it."""
    named = [bucket for text in sources for bucket in _buckets_of(text)]
    return list({bucket.name: bucket for bucket in reversed(named)}.values())[::-1]


def _buckets_of(text: str) -> Iterator[Bucket]:
    match parse_source(text):
        case Prefix() as prefix:
            yield Bucket(prefix.bucket, prefix=prefix.prefix)
        case Manifest() as manifest:
            for bucket, example in survey(manifest).examples.items():
                yield Bucket(bucket, [example])
        case Inventory():
            raise UsageError(f"{text}: name the bucket that the inventory lists, as s3://bucket/prefix")
        case _:
            raise UsageError(f"{text}: name s3://bucket/prefix or a manifest; nothing can be wrong with a folder")


def _registered(store: Store, but: set[str]) -> Iterator[Bucket]:
    if store.seen:
        for name, examples in store.seen.buckets.items():
            if name not in but:
                yield Bucket(name, examples)


def _judge_buckets(settings: Settings, to_read: Sequence[Bucket], reports: dict[str, LaneReport]) -> Iterator[Finding]:
    regions = {name: each.region for name, each in settings.lanes.items()}
    for bucket in to_read:
        seen = {name: report.buckets[bucket.name] for name, report in reports.items() if bucket.name in report.buckets}
        yield from buckets.judge(bucket, seen, regions)
    if not to_read:
        yield not_checked("buckets", "none is known; name a source, or register one with `modworker enqueue`")

"""An export's rows are those of the view, all of one moment, each job's together."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from itertools import groupby
from typing import Any

import pytest

from tests.store.steps import Steps, page, seen, segment
from tests.store.test_retry import attached, failed_at_aws
from worker.errors import UsageError
from worker.store.exports import COLUMNS, ROWS_AT_ONCE, WINDOW, Snapshot, snapshot
from worker.store.purge import Purge

VIEW = "select * from moderation_labels where backfill = 'archive'"


async def all_of(labels: Snapshot) -> list[tuple[Any, ...]]:
    """Every row of a snapshot."""
    return [tuple(row) for batch in [batch async for batch in labels.batches()] for row in batch]


async def exported(steps: Steps, *names: str, since: datetime | None = None) -> list[tuple[Any, ...]]:
    """Every row of an export at this moment, of backfill archive unless others are named."""
    async with snapshot(steps.database, names or ("archive",), since) as labels:
        return await all_of(labels)


async def test_rows_are_those_of_the_view(steps: Steps):
    """Of done videos only, of those too that a job of another backfill settled; times, segments and content types."""
    owner, backfill, other = await steps.own(), await steps.backfill(), await steps.backfill("other")
    await steps.done(owner, backfill, ["a.mp4", "b.mp4"], labels=7)
    (unfinished,) = await steps.ready(owner, backfill, ["unfinished.mp4"])  # among the ids of those that are done
    await steps.pages.write([page(unfinished, detections=seen(2), next_token="more")])
    await steps.done(owner, backfill, ["silent.mp4"], labels=0)
    (segments,) = await steps.ready(owner, backfill, ["c.mp4"])
    await steps.pages.write([page(segments, detections=[segment("Gore", 0, 5), segment("Smoking", 3, 9)])])
    await steps.done(owner, other, ["shared.mp4", "foreign.mp4"])
    await attached(steps, owner, backfill, ["shared.mp4"])
    await failed_at_aws(steps, owner, backfill, ["failed.mp4"])
    rows = await exported(steps)
    assert Counter(rows) == Counter(await steps.rows(VIEW))
    assert {row[2] for row in rows} == {"a.mp4", "b.mp4", "c.mp4", "shared.mp4"}
    assert {row[8] for row in rows if row[12] != "[]"} == {"Gore", "Smoking"}


async def test_columns_are_those_of_the_view(steps: Steps):
    """Name by name, in their order."""
    sql = "select column_name from information_schema.columns where table_name = $1 order by ordinal_position"
    assert [name for (name,) in await steps.rows(sql, "moderation_labels")] == list(COLUMNS)


async def test_jobs_come_in_their_order_however_many_they_are(steps: Steps):
    """Over gaps wider than a statement looks, and with more labels than are read at once; each job's rows together."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.done(owner, backfill, ["a.mp4", "b.mp4"], labels=ROWS_AT_ONCE // 2 + 7)
    for gap in (1, WINDOW - 1, WINDOW, 3 * WINDOW + 1):
        await steps.value("select setval('job_id_seq', (select max(id) from job) + $1::bigint - 1)", gap)
        job_ids += await steps.done(owner, backfill, [f"after {gap}.mp4"])
    rows = await exported(steps)
    keys = await steps.rows("select key from job where id = any($1) order by id", job_ids)
    assert [key for key, _ in groupby(row[2] for row in rows)] == [key for (key,) in keys]
    assert Counter(rows) == Counter(await steps.rows(VIEW))


async def test_labels_are_those_of_one_moment(steps: Steps):
    """What settles, is read anew or is purged while an export goes on neither comes into it nor leaves it."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.done(owner, backfill, ["a.mp4", "b.mp4"])
    before = await steps.rows(VIEW)
    async with snapshot(steps.database, ["archive"], None) as labels:
        await steps.done(owner, backfill, ["later.mp4"])
        await steps.execute("delete from detection where job_id = $1", job_ids[0])
        async for _ in Purge(steps.database, backfill).run("an operator"):
            pass
        assert labels.labels == len(before) > 0
        assert Counter(await all_of(labels)) == Counter(before)


async def test_later_export_has_what_settled_since(steps: Steps):
    """From a time on, itself included; how many labels there will be is not known then."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["before.mp4"])
    await steps.done(owner, backfill, ["after.mp4"])
    since = await steps.value("select settled_at from video where key = 'after.mp4'")
    assert {row[2] for row in await exported(steps, since=since)} == {"after.mp4"}
    assert await exported(steps, since=await steps.value("select clock_timestamp()")) == []
    async with snapshot(steps.database, ["archive"], since) as labels:
        assert labels.labels is None


async def test_labels_of_several_backfills_come_one_after_the_other(steps: Steps):
    """In the order of the names; a video that two of them have comes with each."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    await steps.done(owner, first, ["a.mp4", "shared.mp4"])
    await steps.done(owner, second, ["b.mp4"])
    await attached(steps, owner, second, ["shared.mp4"])
    await steps.done(owner, await steps.backfill("another"), ["c.mp4"])
    rows = await exported(steps, "second", "first")
    assert [name for name, _ in groupby(row[0] for row in rows)] == ["second", "first"]
    view = "select * from moderation_labels where backfill in ('first', 'second')"
    assert Counter(rows) == Counter(await steps.rows(view))
    async with snapshot(steps.database, ["second", "first"], None) as labels:
        assert labels.labels == len(rows)


async def test_backfill_without_labels_gives_none(steps: Steps):
    """One that has no video, or none that is done."""
    owner, backfill = await steps.own(), await steps.backfill()
    assert await exported(steps) == []
    await steps.running(owner, backfill, ["a.mp4"])
    assert await exported(steps) == []


async def test_backfill_that_is_purged_is_not_exported(steps: Steps):
    """Some of its labels may be gone, and nobody could tell from the file."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["a.mp4"])
    await steps.execute("update backfill set purging_at = now()")
    with pytest.raises(UsageError, match="backfill archive is being purged, or was"):
        await exported(steps)
    await steps.execute("update backfill set purging_at = null")
    with pytest.raises(UsageError, match="backfill nothing is being purged, or was"):
        await exported(steps, "nothing")


async def test_content_types_are_json(steps: Steps):
    """As the view gives them; of a label without any, an empty list."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    await steps.pages.write([page(job_id, detections=[segment("Gore", 0, 5), *seen(1)])])
    rows = await exported(steps)
    found = {row[8]: json.loads(row[12]) for row in rows}
    assert found == {"Gore": [{"Name": "Animated", "Confidence": 80.0}], "Weapons": []}

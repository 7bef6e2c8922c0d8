"""Pages: written once, whoever writes them and however they are grouped; settled with everything that hangs on it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal

import asyncpg
import pytest
from msgspec.structs import replace

from tests.store.steps import Steps, page, seen, segment
from worker.model import Detection, Failure, Label, Page

PAGES_OF_A_JOB = 5
ROWS_OF_A_PAGE = 8


def pages_of(job_id: int) -> list[Page]:
    """All pages of a job; every detection tells by its time which page and row it is."""
    return [
        page(
            job_id,
            number,
            detections=seen(ROWS_OF_A_PAGE, from_ms=number * 100_000),
            next_token=f"after {number}" if number < PAGES_OF_A_JOB else None,
        )
        for number in range(1, PAGES_OF_A_JOB + 1)
    ]


async def test_group_of_many_jobs_is_written_and_settled_in_one_step(steps: Steps):
    """Pages of several jobs, some to their end, become rows; jobs at their end settle with videos, cost and summary."""
    owner, backfill = await steps.own(), await steps.backfill(price_usd_per_minute=0.10)
    a, b, c = await steps.ready(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"])
    group = [
        page(b, 2, detections=seen(2, from_ms=5000), duration_ms=90_000),
        page(a, 1, detections=seen(3, names=["Weapons"])),
        page(b, 1, detections=seen(4), next_token="more"),
        page(c, 1, detections=seen(5), next_token="more"),
    ]
    written = await steps.pages.write(group)
    assert (written.rows, sorted(written.settled), written.refused) == (14, [a, b], [])
    assert await steps.states(backfill) == ["done", "done", "active"]
    assert await steps.money(backfill) == (Decimal("0.25"), 1)
    assert await steps.value("select labels from tally") == 9
    rows = await steps.rows(
        "select j.job_id, l.name, j.detections, j.highest_confidence, j.first_ms, j.last_ms"
        "  from job_label j join label l on l.id = j.label_id order by 1, 2"
    )
    assert rows == [
        (a, "Weapons", 3, 52.0, 0, 2000),
        (b, "Alcohol", 3, 53.0, 1000, 6000),
        (b, "Weapons", 3, 52.0, 0, 5000),
    ]


async def test_readers_see_all_labels_of_a_video_or_none(steps: Steps):
    """The public views show a job's labels when it settles, not page by page."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    for one in pages_of(job_id):
        assert await steps.value("select count(*) from moderation_labels") == 0
        assert await steps.value("select count(*) from video_labels") == 0
        await steps.pages.write([one])
    assert await steps.value("select count(*) from moderation_labels") == PAGES_OF_A_JOB * ROWS_OF_A_PAGE
    assert await steps.value("select sum(detections) from video_labels") == PAGES_OF_A_JOB * ROWS_OF_A_PAGE


async def test_segments_and_content_types_are_kept(steps: Steps):
    """Labels read as segments carry start, end and content types, with or without a parent and level."""
    owner, backfill = await steps.own(), await steps.backfill(aggregate_by="SEGMENTS")
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    await steps.pages.write([page(job_id, detections=[segment("Gambling", 500, 2500), segment("Gambling", 100, 900)])])
    rows = await steps.rows(
        "select timestamp_ms, start_ms, end_ms, name, parent_name, taxonomy_level, content_types, model_version"
        "  from moderation_labels order by start_ms"
    )
    kinds = '[{"Name": "Animated", "Confidence": 80.0}]'
    assert rows == [
        (None, 100, 900, "Gambling", "", None, kinds, "7.0"),
        (None, 500, 2500, "Gambling", "", None, kinds, "7.0"),
    ]
    assert await steps.rows("select first_ms, last_ms from video_labels") == [(100, 2500)]


async def test_video_without_labels_is_done(steps: Steps):
    """An empty result is a result: the video is done and its minutes are paid."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    written = await steps.pages.write([page(job_id)])
    assert (written.rows, written.settled) == (0, [job_id])
    assert await steps.money(backfill) == (Decimal("0.1"), 0)


async def test_repeating_a_whole_group_is_harmless(steps: Steps):
    """A group whose commit was not answered is written again: nothing is accepted twice."""
    owner, backfill = await steps.own(), await steps.backfill()
    a, b = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    group = [*pages_of(a), *pages_of(b)[:2]]
    first = await steps.pages.write(group)
    again = await steps.pages.write(group)
    assert (first.rows, first.settled, first.refused) == (7 * ROWS_OF_A_PAGE, [a], [])
    assert (again.rows, again.settled, sorted(again.refused)) == (0, [], [a, b])


async def test_pages_that_do_not_come_next_are_refused(steps: Steps):
    """A page from beyond the cursor, or before it, is refused; its neighbours are written."""
    owner, backfill = await steps.own(), await steps.backfill()
    a, b, c = await steps.ready(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"])
    await steps.pages.write(pages_of(c)[:2])
    written = await steps.pages.write([*pages_of(a)[1:2], *pages_of(b)[:1], *pages_of(c)[1:3]])
    assert (written.rows, sorted(written.refused)) == (ROWS_OF_A_PAGE, [a, c])
    assert await steps.rows("select id, next_page from job order by id") == [(a, 1), (b, 2), (c, 3)]


async def test_page_that_comes_twice_in_a_group_is_written_once(steps: Steps):
    """Two readers of one job may send the same pages into one group; what lies behind a gap is left to the cursor."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    one, two, _, four, five = pages_of(job_id)
    written = await steps.pages.write([one, two, one, two, four, five])
    assert (written.rows, written.settled) == (2 * ROWS_OF_A_PAGE, [])
    assert await steps.value("select next_page from job") == 3


async def test_pages_of_a_settled_job_are_refused(steps: Steps):
    """A job that has failed or is done takes no page any more."""
    owner, backfill = await steps.own(), await steps.backfill()
    failed, done = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    await steps.jobs.fail(Failure(failed, "failed", "no", "failed"))
    await steps.pages.write([page(done)])
    written = await steps.pages.write([page(failed, detections=seen(2)), page(done, 2, detections=seen(2))])
    assert (written.rows, written.settled, sorted(written.refused)) == (0, [], [failed, done])


@pytest.mark.parametrize(
    "detection",
    [
        Detection(Label("half a pair \ud800", 50.0), timestamp_ms=0),
        Detection(Label("NUL \x00", 50.0), timestamp_ms=0),
        Detection(Label("far away", 50.0), timestamp_ms=2**40),
    ],
    ids=["surrogate", "nul", "overflow"],
)
async def test_page_that_cannot_be_stored_is_told_at_once_and_leaves_nothing(steps: Steps, detection: Detection):
    """What PostgreSQL cannot keep is an error to the caller, not a reason to try for ever; the group is undone."""
    owner, backfill = await steps.own(), await steps.backfill()
    good, bad = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    async with asyncio.timeout(10):
        with pytest.raises((ValueError, OverflowError, asyncpg.DataError)):
            await steps.pages.write([page(good, detections=seen(2)), page(bad, detections=[detection])])
    assert await steps.value("select count(*) from detection") == 0
    assert (await steps.pages.write([page(good, detections=seen(2))])).settled == [good]


async def test_labels_are_added_once_and_numbers_are_not_used_up(steps: Steps):
    """Rival writers of the same new labels add each once; labels that are known use up no number of the smallint."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.ready(owner, backfill, [f"{i}.mp4" for i in range(42)])
    names = [f"label {i}" for i in range(30)]
    await asyncio.gather(*(steps.pages.write([page(j, detections=seen(30, names=names))]) for j in job_ids[:20]))
    assert await steps.value("select count(*) from label") == 30
    same_name = [Detection(Label("label 0", 50.0, "Violence", 3)), Detection(Label("label 0", 50.0, "", None))]
    await steps.pages.write([page(job_ids[20], detections=same_name)])
    highest = await steps.value("select max(id) from label")
    for job_id in job_ids[21:41]:
        await steps.pages.write([page(job_id, detections=[*seen(30, names=names), *same_name])])
    await steps.pages.write([page(job_ids[41], detections=seen(1, names=["a new label"]))])
    assert await steps.value("select count(*) from label") == 33
    assert await steps.value("select max(id) from label") == highest + 1


async def test_labels_lost_in_a_failover_are_added_again(steps: Steps):
    """A writer keeps no numbers of labels in memory that a restored database does not have."""
    owner, backfill = await steps.own(), await steps.backfill()
    a, b = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    await steps.pages.write([page(a, detections=seen(4), next_token="more")])
    await steps.execute("update job set next_page = 1, next_token = null, digest = null, detections = 0")
    await steps.execute("truncate label, detection, job_label")  # as a backup of an hour ago would have it
    await steps.pages.write([page(a, detections=seen(4)), page(b, detections=seen(4))])
    assert await steps.value("select count(*) from moderation_labels") == 8


async def test_rival_owners_lose_and_double_nothing(steps: Steps):
    """Six writers of the same pages in random groups, some killed in the middle, leave each row once."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.ready(owner, backfill, [f"{i:02}.mp4" for i in range(30)])
    expected = Counter(
        (job_id, d.timestamp_ms) for job_id in job_ids for one in pages_of(job_id) for d in one.detections
    )
    statistics = Counter[str]()

    async def write(group: list[Page]) -> None:
        writing = asyncio.create_task(steps.pages.write(group))
        if rng.random() < 0.15:
            await asyncio.sleep(rng.uniform(0, 0.01))
            writing.cancel()
        try:
            written = await writing
        except asyncio.CancelledError:
            statistics["killed"] += 1
        else:
            statistics["accepted"] += written.rows
            statistics["refused"] += len(written.refused)

    async def rival() -> None:
        while True:
            ready = await steps.jobs.ready(owner.lane_id, in_hand=[], limit=100, page_token_seconds=3600)
            if not ready:
                return
            group: list[Page] = []
            for job in rng.sample(ready, min(len(ready), rng.randint(1, 8))):
                start = job.next_page - 1 + rng.choice([0, 0, 0, 0, -1, 1])
                group += pages_of(job.id)[max(0, start) : start + rng.randint(1, 3)]
            await asyncio.sleep(rng.uniform(0, 0.005))
            rng.shuffle(group)
            await write(group)

    async with asyncio.timeout(60):
        await asyncio.gather(*(rival() for _ in range(6)))
    rows = await steps.rows("select job_id, timestamp_ms from detection")
    assert Counter(rows) == expected
    assert await steps.states(backfill) == ["done"] * 30
    assert await steps.money(backfill) == (3, 0)
    assert statistics["refused"]
    assert statistics["killed"]


async def test_pages_of_two_readings_are_not_mixed(steps: Steps):
    """A page that comes next by its number, but follows another page than the one written, is refused."""
    owner, backfill = await steps.own(), await steps.backfill()
    a, b = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    other = {
        job_id: replace(page(job_id, 1, detections=seen(5), next_token="more"), digest=b"other") for job_id in (a, b)
    }
    last = {job_id: replace(page(job_id, 2, detections=seen(1)), follows=b"other") for job_id in (a, b)}
    await steps.pages.write([page(a, 1, detections=seen(3), next_token="more")])
    for group in ([last[a]], [page(b, 1, detections=seen(3), next_token="more"), other[b], last[b]]):
        written = await steps.pages.write(group)
        assert (written.settled, written.refused) == ([], [group[0].job_id])
    assert await steps.rows("select next_page, detections from job order by id") == [(2, 3), (2, 3)]
    written = await steps.pages.write([page(a, 2, detections=seen(2)), page(b, 2, detections=seen(2))])
    assert (written.settled, written.refused) == ([a, b], [])

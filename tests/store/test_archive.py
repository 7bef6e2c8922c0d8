"""What the pages look up: stopped videos by reason, one video's labels over time, and the search by label."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.store.steps import BUCKET, Steps, page
from worker.model import Backfill, ContentType, Detection, Failure, Label
from worker.store.archive import PAGE, Archive, Found, Position, Wanted
from worker.store.leases import LaneHolder


def detection(name: str, at: int, confidence: float, *kinds: tuple[str, float], parent: str = "") -> Detection:
    """A label seen at a time."""
    label = Label(name, confidence, parent, 2 if parent else 1)
    return Detection(label, at, content_types=tuple(ContentType(*kind) for kind in kinds))


async def all_of(archive: Archive, wanted: Wanted) -> list[Found]:
    """Every page of a search."""
    pages = [await archive.search(wanted, Position())]
    while pages[-1].next:
        pages.append(await archive.search(wanted, pages[-1].next))
    return pages


async def many_ready(steps: Steps, owner: LaneHolder, backfill: Backfill, count: int) -> list[int]:
    """The ids of that many ready jobs; no claim takes so many at once."""
    parts = [[f"{n}.mp4" for n in range(first, min(first + 100, count))] for first in range(0, count, 100)]
    return [job_id for keys in parts for job_id in await steps.ready(owner, backfill, keys)]


async def test_timeline_has_each_detection_once_and_in_order(steps: Steps):
    """A row for each label, its detections by time, confidence cut off to three digits."""
    owner, backfill = await steps.own(), await steps.backfill()
    [job_id] = await steps.ready(owner, backfill, ["a.mp4"])
    seen = [
        detection("Weapons", 2000, 99.99991, parent="Violence"),
        detection("Violence", 2000, 98.76543),
        detection("Weapons", 500, 80.5, parent="Violence"),
    ]
    await steps.pages.write([page(job_id, detections=seen)])
    violence, weapons = await Archive(steps.database).timeline(job_id)
    assert violence == {
        "name": "Violence",
        "parent_name": "",
        "taxonomy_level": 1,
        "from_ms": [2000],
        "until_ms": None,
        "confidence": [98.765],
    }
    assert (weapons["parent_name"], weapons["from_ms"], weapons["confidence"]) == (
        "Violence",
        [500, 2000],
        [80.5, 99.999],
    )


async def test_timeline_of_segments_tells_their_ends(steps: Steps):
    """Results that were read by segments have a beginning and an end."""
    owner, backfill = await steps.own(), await steps.backfill()
    [job_id] = await steps.ready(owner, backfill, ["a.mp4"])
    segments = [Detection(Label("Gambling", 90.0, "", 1), None, start, start + 700) for start in (3000, 0)]
    await steps.pages.write([page(job_id, detections=segments)])
    [row] = await Archive(steps.database).timeline(job_id)
    assert (row["from_ms"], row["until_ms"]) == ([0, 3000], [700, 3700])


async def test_content_types_are_told_once_for_a_time(steps: Steps):
    """Several labels of one picture repeat its content types: the surest word counts."""
    owner, backfill = await steps.own(), await steps.backfill()
    [job_id] = await steps.ready(owner, backfill, ["a.mp4"])
    seen = [
        detection("Violence", 0, 90.0, ("Animated", 70.0)),
        detection("Weapons", 0, 90.0, ("Animated", 80.0), ("Illustrated", 60.0)),
        detection("Weapons", 500, 90.0),
        detection("Weapons", 1000, 90.0, ("Animated", 75.0)),
    ]
    await steps.pages.write([page(job_id, detections=seen)])
    assert await Archive(steps.database).content_types(job_id) == [
        {"name": "Animated", "from_ms": [0, 1000], "confidence": [80.0, 75.0]},
        {"name": "Illustrated", "from_ms": [0], "confidence": [60.0]},
    ]


async def test_a_video_is_shown_as_video_status_shows_it(steps: Steps):
    """Pending, done, failed, and pending in a cancelled backfill: state, reason and labels are those of the view."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.done(owner, backfill, ["done.mp4"])
    [job_id] = await steps.ready(owner, backfill, ["failed.mp4"])
    await steps.jobs.fail(Failure(job_id, "failed", "broken", "failed"))
    await steps.register(backfill, owner, ["pending.mp4"])
    archive = Archive(steps.database)
    for _ in range(2):
        rows = await steps.database.pool.fetch(
            "select v.id, s.* from video v join video_status s using (bucket, key) order by v.id"
        )
        assert len(rows) == 3
        for row in rows:
            video = await archive.video(row["id"])
            assert video is not None
            shared: dict[str, Any] = {name: video[name] for name in row.keys() & video.keys()}
            assert shared == {name: row[name] for name in shared} | {"cost_usd": float(row["cost_usd"])}
            assert {"state", "reason", "labels", "duration_ms", "key", "cost_usd"} <= shared.keys()
            [place] = await archive.places(BUCKET, row["key"])
            assert place["id"] == row["id"]
        await steps.registry.cancel(backfill.name, who="an operator")
    assert await archive.video(10**9) is None


async def test_stopped_videos_are_read_page_by_page(steps: Steps):
    """Each video of a reason is on one page, none of another reason on any."""
    owner, backfill = await steps.own(), await steps.backfill()
    count = 2 * PAGE + 7
    for job_id in await many_ready(steps, owner, backfill, 2 * count):
        await steps.jobs.fail(Failure(job_id, "failed", f"reason {job_id % 2}", "failed"))
    archive, ids = Archive(steps.database), []
    while rows := await archive.stopped(backfill.name, "reason 1", ids[-1] if ids else 0):
        assert len(rows) <= PAGE
        ids += [row["id"] for row in rows]
    wanted = await steps.rows("select id from video where reason = 'reason 1' order by id")
    assert len(ids) > 2 * PAGE
    assert [(video_id,) for video_id in ids] == wanted
    assert await archive.stopped("another", "reason 1", 0) == []


async def test_search_finds_what_the_view_finds_each_video_once(steps: Steps):
    """Over pages, ties of confidence and a name with two parents: the videos of `video_labels`, the surest first."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    owner, backfill = await steps.own(), await steps.backfill()
    for job_id in await many_ready(steps, owner, backfill, 3 * PAGE):
        parent = rng.choice(("Violence", "Sports"))
        seen = [detection("Weapons", n, rng.choice((70.0, 80.0, 80.1, 99.5)), parent=parent) for n in range(3)]
        other = [detection("Violence", 0, 99.0)] if rng.random() < 0.5 else []
        await steps.pages.write([page(job_id, detections=seen[: rng.randrange(4)] + other)])
    pages = await all_of(Archive(steps.database), Wanted("Weapons", 80.0))
    found = [(video["key"], video["highest_confidence"]) for shown in pages for video in shown.videos]
    truth = await steps.rows(
        "select key, highest_confidence from video_labels where name = 'Weapons' and highest_confidence >= 80"
    )
    assert sorted(found) == sorted(truth)
    assert [confidence for _, confidence in found] == sorted((c for _, c in truth), reverse=True)
    assert await all_of(Archive(steps.database), Wanted("Unheard of")) == [Found([], 0, None)]


async def a_few_among_many(steps: Steps) -> datetime:
    """93 videos that show weapons, three of them of backfill "few", of which x.mp4 settled before the time told."""
    owner = await steps.own()
    many, few = await steps.backfill("many"), await steps.backfill("few")
    for backfill, keys in ((many, [f"{n}.mp4" for n in range(90)]), (few, ["x.mp4", "y.mp4", "z.mp4"])):
        for number, job_id in enumerate(await steps.ready(owner, backfill, keys)):
            await steps.pages.write([page(job_id, detections=[detection("Weapons", 0, 90.0 - number % 30)])])
    await steps.execute("update video set settled_at = settled_at - interval '1 day' where key = 'x.mp4'")
    return datetime.now(UTC) - timedelta(hours=12)


@pytest.mark.parametrize(("few", "steps_a_page", "looked_at"), [(-1, 20, 93), (20_000, 2_000, None)])
async def test_search_sifts_by_backfill_and_time(
    steps: Steps, monkeypatch, few: int, steps_a_page: int, looked_at: int | None
):
    """Few among many are found: by a walk in bounded steps over as many pages as it takes, or by what is few."""
    monkeypatch.setattr("worker.store.archive.FEW", few)
    monkeypatch.setattr("worker.store.archive.STEPS_TO_SIFT", steps_a_page)
    noon = await a_few_among_many(steps)
    archive = Archive(steps.database)
    wanted = {
        ("x.mp4", "y.mp4", "z.mp4"): Wanted("Weapons", backfill="few"),
        ("y.mp4", "z.mp4"): Wanted("Weapons", backfill="few", settled_from=noon),
        ("x.mp4",): Wanted("Weapons", backfill="few", settled_before=noon),
        (): Wanted("Weapons", 90.5, "few"),
    }
    for keys, question in wanted.items():
        pages = await all_of(archive, question)
        assert sorted(video["key"] for shown in pages for video in shown.videos) == list(keys)
        if keys:
            assert sum(shown.looked_at for shown in pages) == (looked_at or len(keys))
            assert max(shown.looked_at for shown in pages) <= steps_a_page


async def test_few_and_many_are_searched_alike(steps: Steps, monkeypatch):
    """The same videos in the same order over the same pages, whichever way they are found, and none is passed over.

    All but the first have two rows that are equally sure, and pages end between the two.
    """
    owner, backfill = await steps.own(), await steps.backfill()
    for number, job_id in enumerate(await many_ready(steps, owner, backfill, 2 * PAGE + 9)):
        confidence, parents = (81.0 + number % 7, ("Violence", "Sports")) if number else (99.0, ("Violence",))
        seen = [detection("Weapons", 0, confidence, parent=parent) for parent in parents]
        await steps.pages.write([page(job_id, detections=seen)])
    assert await steps.intents(owner, await steps.backfill("other"), [f"{n}.mp4" for n in range(40)]) == []
    archive, found = Archive(steps.database), []
    for few in (-1, 20_000):
        monkeypatch.setattr("worker.store.archive.FEW", few)
        pages = await all_of(archive, Wanted("Weapons", 81.0, settled_before=datetime.now(UTC) + timedelta(hours=1)))
        found.append([shown.videos for shown in pages])
    assert found[0] == found[1]
    assert sum(map(len, found[0])) == 2 * (2 * PAGE + 9) - 1
    assert len(found[0]) == 5

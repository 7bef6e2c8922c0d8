"""The page of one video before a real browser: from a failure to its video, labels over time, the video beside them."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.store.steps import Steps, segment
from tests.store.steps import page as page_of
from tests.system.site import Site, finished
from tests.system.truth import rows_in
from tests.web.conftest import Archive, Viewer
from tests.web.serving import pages_of
from worker.store.database import open_database

DASH = "\N{EN DASH}"
COUNTS = """select name, count(*) from moderation_labels where bucket = $1 and key = $2 and confidence >= $3
             group by name"""
BUSIEST = """select v.id, v.bucket, v.key from video_labels l join video v using (bucket, key)
              where bucket not like 'synthetic-%' group by 1, 2, 3 order by count(*) desc limit 1"""

LISTED = """select timestamp_ms, name, parent_name, taxonomy_level, trunc(confidence::numeric, 1)
              from moderation_labels where bucket = $1 and key = $2 order by timestamp_ms"""
NAMED = """select name, count(*) from moderation_labels where bucket = $1 and key = $2 and taxonomy_level > 1
              and (name ilike $3 or parent_name ilike $3) group by name"""
ONE_LABEL = """select timestamp_ms, trunc(confidence::numeric, 1) from moderation_labels
                where bucket = $1 and key = $2 and name = $3 order by timestamp_ms"""

WITHIN_THE_CLIP = """select name, min(timestamp_ms) from moderation_labels where bucket = $1 and key = $2
                      group by name having min(timestamp_ms) between 500 and 59000 order by 1 limit 1"""


async def open_busiest(archive: Archive, viewer: Viewer) -> tuple[Page, str, str]:
    """The page of the playable video that shows the most labels, its bucket and key."""
    [row] = await rows_in(archive.database_url, BUSIEST)
    viewer.stores = {str(archive.site.service_url())}
    page = await viewer.open(archive.url, f"/video?id={row['id']}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{row['bucket']}/{row['key']}")
    await expect(page.locator("#timeline [tabindex='0']")).to_have_count(1)
    return page, row["bucket"], row["key"]


async def counted(page: Page) -> Counter[str]:
    """The rows of the timeline, without those of content types: label -> detections."""
    rows = await page.locator("#timeline .row[role=slider]:not(.type):visible").all()
    told = [
        ((await row.get_attribute("aria-label") or "").partition(", in ")[0], await row.inner_text()) for row in rows
    ]
    return Counter({name: int(text.split()[-1]) for name, text in told})


async def test_a_failure_is_followed_to_its_video(archive: Archive, viewer: Viewer):
    """From the reason on the status page over the list of its videos to the page of one, and back."""
    page = await viewer.open(archive.url)
    reason = "archived: storage class GLACIER; restore the object first"
    await page.get_by_role("link", name=reason).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Without labels in all")
    stopped = await rows_in(archive.database_url, "select bucket, key from video_status where reason = $1", reason)
    listed = page.locator("#videos").get_by_role("link")
    await expect(listed).to_have_text([f"{bucket}/{key}" for bucket, key in stopped])
    await viewer.accessible()
    await viewer.keep("stopped")
    await listed.first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{stopped[0]['bucket']}/{stopped[0]['key']}")
    await expect(page.locator("#outcome")).to_have_text(f"skipped: {reason}")
    await expect(page.locator("#found")).to_be_hidden()
    await page.locator("#crumbs").get_by_role("link", name="all").click()
    await expect(page.locator("#videos").get_by_role("link")).to_have_count(len(stopped))


async def test_timeline_and_table_show_what_sql_says(archive: Archive, viewer: Viewer):
    """Each label has its row with as many detections as SQL counts, parents before children; the table lists them."""
    page, bucket, key = await open_busiest(archive, viewer)
    truth = Counter(dict(await rows_in(archive.database_url, COUNTS, bucket, key, 0.0)))
    assert await counted(page) == truth
    await expect(page.locator("#shown")).to_have_text(
        f"{truth.total():,} of {truth.total():,} detections, {len(truth)} labels"
    )
    names = list(await counted(page))
    parents = await rows_in(archive.database_url, "select distinct name, parent_name from moderation_labels")
    assert all(names.index(p) < names.index(name) for name, p in parents if p in names and name in names)

    await viewer.accessible()
    await viewer.keep("video")
    await page.get_by_text("All detections as a table").click()
    await expect(page.locator("#detections tr")).not_to_have_count(0)
    more = page.get_by_role("button", name="Show more")
    while await more.is_visible():
        await more.click()
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    listed = await page.locator("#detections tr").evaluate_all(cells)
    rows = await rows_in(archive.database_url, LISTED, bucket, key)
    wanted = [(clock(at), name, parent or DASH, str(level), f"{sure}%") for at, name, parent, level, sure in rows]
    assert Counter(map(tuple, listed)) == Counter(wanted)
    assert [line[0] for line in listed] == [line[0] for line in wanted]


async def test_the_threshold_the_levels_and_the_name_filter(archive: Archive, viewer: Viewer):
    """Detections below the threshold go from rows, table and sum, as SQL would leave them out; so do other names."""
    page, bucket, key = await open_busiest(archive, viewer)
    threshold = page.get_by_role("slider", name="Confidence at least")
    for confidence in (70.0, 92.5, 99.5):
        await threshold.fill(str(confidence))
        truth = Counter(dict(await rows_in(archive.database_url, COUNTS, bucket, key, confidence)))
        await expect(page.locator("#shown")).to_contain_text(f"{truth.total():,} of ")
        assert await counted(page) == truth
    await threshold.fill("50")
    await page.get_by_role("checkbox", name="1").uncheck()
    await page.get_by_role("searchbox", name="Name").fill("violence")
    rows = await rows_in(archive.database_url, NAMED, bucket, key, "%violence%")
    assert rows
    await expect(page.locator("#shown")).to_contain_text(f"{len(rows)} label")
    assert await counted(page) == Counter(dict(rows))


async def test_the_keyboard_moves_through_detections(archive: Archive, viewer: Viewer):
    """Arrows, Home and End go from detection to detection and from label to label, and each is told in words."""
    page, bucket, key = await open_busiest(archive, viewer)
    rows = page.locator("#timeline").get_by_role("slider")
    first = rows.first
    name = (await first.get_attribute("aria-label") or "").partition(", in ")[0]
    found = await rows_in(archive.database_url, ONE_LABEL, bucket, key, name)
    told = [f"{clock(at)}, {sure}%, {number} of {len(found)}" for number, (at, sure) in enumerate(found, start=1)]
    await page.get_by_role("button", name="Whole").focus()
    await page.keyboard.press("Tab")
    await expect(first).to_be_focused()
    for pressed, place in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1)):
        await page.keyboard.press(pressed)
        await expect(first).to_have_attribute("aria-valuetext", told[place])
    await page.keyboard.press("ArrowRight")
    await expect(first).to_have_attribute("aria-valuetext", told[-1])
    await page.keyboard.press("ArrowDown")
    await expect(rows.nth(1)).to_be_focused()
    await expect(page.locator("#timeline [tabindex='0']")).to_have_count(1)
    for _ in range(4):
        await page.get_by_role("button", name="Closer").click()
    await rows.first.focus()
    for pressed, place in (("Home", 0), ("End", -1)):
        await page.keyboard.press(pressed)
        await expect(first).to_have_attribute("aria-valuetext", told[place])


async def test_the_video_plays_beside_its_labels(archive: Archive, viewer: Viewer):
    """It is loaded from the store alone, a detection seeks in it, and no page has the signed address."""
    page, bucket, key = await open_busiest(archive, viewer)
    video = page.locator("video")
    await page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    assert await video.evaluate("video => video.duration") == pytest.approx(60.0, abs=0.5)
    assert "X-Amz" not in await page.content()

    [(name, at_ms)] = await rows_in(archive.database_url, WITHIN_THE_CLIP, bucket, key)
    row = page.locator("#timeline").get_by_role("slider", name=name).first
    await row.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("Enter")
    await page.wait_for_function(f"() => document.querySelector('video').currentTime === {at_ms / 1000}")
    await video.evaluate("video => { video.muted = true; return video.play(); }")
    await page.wait_for_function(f"() => document.querySelector('video').currentTime > {at_ms / 1000}")
    await video.evaluate("video => video.pause()")
    await viewer.keep("video-playing")

    policy = await page.evaluate("async () => (await fetch(location)).headers.get('Content-Security-Policy')")
    assert f"media-src 'self' {archive.site.service_url()};" in policy


async def test_signed_addresses_are_written_down_nowhere(site: Site):
    """Neither log nor database keeps the address that a browser was led to."""
    site.service()
    site.run("enqueue", "s3://synthetic-archive/")
    worker, url = pages_of(site)
    [(video_id,)] = await rows_in(site.database_url, "select id from video order by id limit 1")
    address = await led_to(f"{url}/play?id={video_id}")
    assert address.startswith(f"{site.service_url()}/synthetic-archive/")
    assert "X-Amz-Signature=" in address
    assert "X-Amz-Expires=600" in address
    worker.terminate()
    assert "X-Amz" not in finished(worker).stderr
    for (table,) in await rows_in(site.database_url, "select relname from pg_stat_user_tables"):
        assert not await rows_in(site.database_url, f"select from {table} t where t::text like '%X-Amz%'")


async def led_to(url: str) -> str:
    """Where a redirection leads, once the lane is owned."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            async with session.get(url, allow_redirects=False) as response:
                if response.status == 302:
                    return response.headers["Location"]
            await asyncio.sleep(0.1)


async def test_a_process_without_the_lane_says_why_it_shows_no_video(archive: Archive, viewer: Viewer):
    """One that stands by has the labels, and names the lane whose owner can play the video."""
    by_standing, url = pages_of(archive.site)
    [row] = await rows_in(archive.database_url, BUSIEST)
    page = await viewer.open(url, f"/video?id={row['id']}")
    await expect(page.locator("#player")).to_have_text(
        "The video cannot be played here: this process does not own lane main; open the page of the one that does."
    )
    await expect(page.locator("#timeline").get_by_role("slider").first).to_be_visible()
    by_standing.terminate()


async def test_content_types_have_rows_and_segments_have_ends(site: Site, viewer: Viewer):
    """Kinds of picture stand below the labels; a segment is told from its beginning to its end."""
    async with open_database(site.database_url, deployment="default", may_migrate=False, pool_size=2) as database:
        steps = Steps(database)
        owner, backfill = await steps.own(), await steps.backfill(aggregate_by="SEGMENTS")
        [job_id] = await steps.ready(owner, backfill, ["a.mp4"])
        segments = [segment("Gambling", 1000, 4500), segment("Gambling", 20_000, 59_000), segment("Rude", 500, 900)]
        await steps.pages.write([page_of(job_id, detections=segments)])
        await steps.leases.release(owner)
        [(video_id,)] = await steps.rows("select id from video")
    site.configure(lanes__main=site.local_lane("us-east-1"), lanes__other=site.local_lane("us-east-1"))
    _, url = pages_of(site, arguments=("run", "--lanes", "other"))
    page = await viewer.open(url, f"/video?id={video_id}")
    gambling = page.get_by_role("slider", name="Gambling")
    await gambling.focus()
    await page.keyboard.press("End")
    await expect(gambling).to_have_attribute("aria-valuetext", "00:20.000 to 00:59.000, 99.5%, 2 of 2")
    await expect(page.get_by_role("heading", name="Content types")).to_be_visible()
    animated = page.get_by_role("slider", name="Animated")
    await animated.focus()
    await page.keyboard.press("Home")
    await expect(animated).to_have_attribute("aria-valuetext", "00:00.500, 80.0%, 1 of 3")
    await viewer.accessible()
    await viewer.keep("video-segments")


def clock(milliseconds: int) -> str:
    """A time as the page writes it."""
    return f"{milliseconds // 60_000:02d}:{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}"

"""The search and the token's form before a real browser."""

from __future__ import annotations

from playwright.async_api import expect

from tests.system.truth import rows_in
from tests.web.conftest import Archive, Viewer
from tests.web.serving import pages_of

SHOWING = """select bucket || '/' || key, highest_confidence, first_ms from video_labels
              where name = $1 and highest_confidence >= $2 order by highest_confidence desc"""


async def test_search_finds_what_sql_finds_and_leads_there(archive: Archive, viewer: Viewer):
    """By label and confidence over several pages; a result opens at its first detection."""
    site, url = archive
    viewer.stores = {str(site.service_url())}
    page = await viewer.open(url, "/search")
    names = await rows_in(site.database_url, "select distinct name from label")
    await expect(page.locator("#labels option")).to_have_count(len(names))
    offered = await page.locator("#labels option").evaluate_all("options => options.map(option => option.value)")
    assert set(offered) == {name for (name,) in names}

    await page.get_by_role("combobox", name="Label").fill("Violence")
    await page.get_by_role("spinbutton", name="Confidence").fill("75.5")
    await page.get_by_role("button", name="Search").click()
    rows = await rows_in(site.database_url, SHOWING, "Violence", 75.5)
    await expect(page.locator("#count")).to_contain_text("50 videos, the surest first")
    await viewer.accessible()
    await viewer.keep("search")
    links = page.locator("#results tbody").get_by_role("link")
    while await links.count() < len(rows):
        shown = await links.count()
        await page.get_by_role("button", name="Show more").click()
        await page.wait_for_function(f"() => document.querySelectorAll('#results tbody a').length > {shown}")
    assert sorted(await links.all_inner_texts()) == sorted(name for name, _, _ in rows)
    await expect(page.locator("#count")).to_have_text(f"{len(rows)} videos, that is all")

    first = rows[0]
    await links.first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(first[0])
    assert page.url.endswith(f"&at={first['first_ms']}")
    await page.go_back()
    await expect(links.first).to_have_text(first[0])


async def test_a_video_is_opened_by_its_name(archive: Archive, viewer: Viewer):
    """A name that one backfill has leads to its page, others are told in words."""
    site, url = archive
    viewer.stores = {str(site.service_url())}
    page = await viewer.open(url, "/search")
    [(bucket, key)] = await rows_in(site.database_url, "select bucket, key from video where key like '%ü%' limit 1")
    name = page.get_by_role("textbox", name="Or a video by its name")
    for wrong, words in (("nothing", "name a video as bucket/key."), ("a/b", "No backfill has registered this video.")):
        await name.fill(wrong)
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_text(words)).to_be_visible()
    await name.fill(f"s3://{bucket}/{key}")
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{bucket}/{key}")


async def test_the_token_is_asked_for_once(archive: Archive, viewer: Viewer):
    """A wrong one is refused in words, the right one shows the page that was asked for, and the others after it."""
    by_standing, url = pages_of(archive.site, token="the right one")
    page = await viewer.open(url, "/search")
    token = page.get_by_label("Token")
    await expect(token).to_be_focused()
    await viewer.accessible()
    await viewer.keep("token")
    await token.fill("a wrong one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    await token.fill("the right one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Search")
    await page.get_by_role("link", name="Status").click()
    await expect(page.get_by_text("finished", exact=True)).to_be_visible()
    viewer.complaints = [line for line in viewer.complaints if "status of 40" not in line]  # what the form is for
    by_standing.terminate()

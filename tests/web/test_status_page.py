"""The status page before a real browser, while a real backfill runs."""

from __future__ import annotations

from playwright.async_api import expect

from tests.system.site import Site, jobs_faster, until
from tests.system.truth import rows_in, states_in
from tests.web.conftest import Archive, Viewer
from tests.web.serving import pages_of

SLOWLY = {"videos": 200, **jobs_faster(10)}  # some seconds for a viewer to see it go on


async def test_figures_change_while_a_backfill_runs_and_end_as_sql_has_them(site: Site, viewer: Viewer):
    """Without a reload the page follows the backfill, shows its rates in charts, and ends with what SQL counts."""
    site.configure(local=SLOWLY)
    site.service()
    site.run("enqueue", "s3://synthetic-archive/", "--budget-usd", "100")
    _, url = pages_of(site)
    page = await viewer.open(url)
    bar = page.get_by_role("progressbar", name="Videos of synthetic-archive that are final")
    seen = set()
    for _ in range(3):
        seen.add(await bar.get_attribute("aria-valuenow"))
        changed = "([bar, seen]) => !seen.includes(bar.getAttribute('aria-valuenow'))"
        await page.wait_for_function(changed, arg=[await bar.element_handle(), sorted(seen)])
    assert len(seen) == 3
    await expect(page.locator(".chart canvas")).to_have_count(6)
    await viewer.keep("status-running")

    await expect(page.get_by_text("finished", exact=True)).to_be_visible()
    states = await states_in(site.database_url)
    final = sum(states.values())
    await expect(bar).to_have_attribute("aria-valuetext", f"{final} of {final} final, 100%")
    legend = await page.locator(".legend li:visible").all_inner_texts()
    assert {line.split()[1]: int(line.split()[0]) for line in legend} == dict(states)
    [(labels, spent)] = await rows_in(site.database_url, "select sum(labels)::bigint, sum(spent_usd) from tally")
    await expect(page.get_by_role("definition").filter(has_text=f"{labels:,}")).to_be_visible()
    await expect(page.get_by_role("definition").filter(has_text=f"${spent:,.2f}")).to_be_visible()


async def test_reasons_of_failures_are_counted_as_sql_counts_them(archive: Archive, viewer: Viewer):
    """Each reason stands with its number of videos and leads to them."""
    page = await viewer.open(archive.url)
    counted = await rows_in(
        archive.database_url, "select reason, count(*) from video_status where reason is not null group by reason"
    )
    assert len(counted) > 3
    for reason, videos in counted:
        item = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=reason, exact=True))
        await expect(item).to_have_text(f"{videos}{reason}")
    await viewer.accessible()
    await viewer.keep("status-finished")


async def test_lanes_show_their_owners_and_what_aws_says_against_them(site: Site, viewer: Viewer):
    """Owner, use of the quotas, and the sentence of a denial."""
    site.configure(lanes__other=site.local_lane("us-east-1"), worker={"probe_seconds": 0.5, "name": "night shift"})
    site.service()
    site.run("enqueue", "s3://synthetic-archive/")
    denied = {"fault": "error", "code": "AccessDeniedException", "operations": ["StartContentModeration"]}
    site.put_faults({"calls": [denied]})
    _, url = pages_of(site)
    page = await viewer.open(url)
    for lane in ("main", "other"):
        row = page.locator("#lanes tbody").filter(has=page.get_by_role("rowheader", name=lane))
        await expect(row).to_contain_text("night shift")
        await expect(row).to_contain_text("0 of 50")
        await expect(row).to_contain_text("denied: ")
    await viewer.accessible()
    await viewer.keep("status-denied")


async def test_a_worker_that_goes_away_is_told_and_its_return_heals_the_page(site: Site, viewer: Viewer):
    """The page says since when it has no news, keeps what it knew, and goes on by itself."""
    site.service()
    site.run("backfill", "s3://synthetic-archive/")
    worker, url = pages_of(site)
    page = await viewer.open(url)
    await expect(page.get_by_text("finished", exact=True)).to_be_visible()
    worker.terminate()
    until(lambda: worker.poll() is not None)
    await expect(page.get_by_role("alert")).to_contain_text("No news: the worker does not answer")
    await expect(page.get_by_text("finished", exact=True)).to_be_visible()
    site.configure(worker={"http_listen": url.removeprefix("http://")})
    site.start("run")
    await expect(page.get_by_role("alert")).to_be_hidden()
    viewer.complaints = [line for line in viewer.complaints if "ERR_CONNECTION_REFUSED" not in line]

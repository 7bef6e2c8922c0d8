"""Debian's Chromium, driven by Playwright, before a worker's pages; what it complains of fails the test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import BlockingPortal
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from tests import videos
from tests.postgres import KINDS, drop_database, fresh_database, migrated, template
from tests.system.site import Site
from tests.web.serving import pages_of

ARTEFACTS = Path(__file__).parents[2] / "artefacts"
CHROMIUM = shutil.which("chromium")
SIZES = {"desk": {"width": 1240, "height": 900}, "phone": {"width": 360, "height": 740}}
CLIPS = ("a.mp4", "Tor 3 + ü & 100%.mp4", "2026 #1? x=y 000014.mp4")  # the last number makes 2,503 entries anywhere
PATIENCE_MS = 60_000  # on a loaded machine

expect.set_options(timeout=PATIENCE_MS)


class Viewer:
    """A browser window before the pages at a URL; keeps what no page may do."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []
        self.page: Page
        self.url = ""
        self.stores: set[str] = set()  # where a page may load videos from

    async def open(self, url: str, path: str = "/", *, size: str = "desk", dark: bool = False, **options: Any) -> Page:
        """Open a page in a new window."""
        self.url = url
        context = await self._browser.new_context(
            viewport=SIZES[size], color_scheme="dark" if dark else "light", reduced_motion="reduce", **options
        )
        context.set_default_timeout(PATIENCE_MS)
        self.page = await context.new_page()
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        await self.page.goto(f"{url}{path}")
        return self.page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"console {kind}: {text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" not in {self.url, *self.stores}:
            self.complaints.append(f"request to elsewhere: {url}")

    async def keep(self, name: str) -> None:
        """Keep pictures of the page: on a desk and on a phone, light and dark. On no phone does it scroll sideways."""
        ARTEFACTS.mkdir(exist_ok=True)
        for size, viewport in SIZES.items():
            await self.page.set_viewport_size(viewport)
            for scheme in ("light", "dark"):
                await self.page.emulate_media(color_scheme=scheme)
                await self.page.screenshot(path=ARTEFACTS / f"{name}-{size}-{scheme}.png", full_page=True)
            wide = await self.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= viewport["width"], f"{wide} px wide on a {size}"
        await self.page.set_viewport_size(SIZES["desk"])
        await self.page.emulate_media(color_scheme="light")

    async def accessible(self) -> None:
        """No rule of WCAG 2 A and AA that axe can check is broken, in light and in dark."""
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme)
            rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
            found = (await Axe().run(self.page, options=rules)).response
            broken = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]]
            assert not broken, f"{scheme}: {broken}"
        await self.page.emulate_media(color_scheme="light")


@pytest.fixture
async def viewer() -> AsyncIterator[Viewer]:
    """A browser without a past; whatever a page logs as an error or asks of others fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt-get install chromium`")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        viewer = Viewer(browser)
        yield viewer
        await browser.close()
    assert viewer.complaints == []


class Archive(NamedTuple):
    """A site whose backfill `all` is over, and the URL of the pages of a worker that owns its lane."""

    site: Site
    url: str

    @property
    def database_url(self) -> str:
        """Where the labels are."""
        return self.site.database_url


@pytest.fixture(scope="session")
def archive(
    portal: BlockingPortal, server_url: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    """Made-up labels of made-up videos, of odd ones that end without labels, and of real ones that can be played."""
    folder = tmp_path_factory.mktemp("archive")
    clips = folder / "Clips"
    clips.mkdir()
    videos.copy_sample("bikes.mp4", folder / "bikes.mp4")
    for name in CLIPS:
        videos.repeat(folder / "bikes.mp4", clips / name, times=6)
    server = server_url(KINDS[0])
    database_url = portal.call(fresh_database, server, portal.call(template, server, "migrated", migrated))
    with Site(folder, database_url) as site:
        site.configure(local={"videos": 150})
        site.service()
        sources = (str(clips), "s3://synthetic-archive/", "s3://synthetic-edge-cases/")
        done = site.run("backfill", *sources, "--name", "all", seconds=300)
        assert done.returncode == 1, done.stderr  # the odd ones
        _, url = pages_of(site)
        yield Archive(site, url)
    portal.call(drop_database, database_url)

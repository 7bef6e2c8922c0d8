"""Who sees the pages, and what they may load."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from worker.metrics import Metrics
from worker.store.archive import Archive
from worker.store.database import Database
from worker.store.reports import Reports
from worker.web.history import History
from worker.web.pages import PAGES, WebPages
from worker.web.playback import Playback
from worker.web.questions import Questions
from worker.web.server import serve

TOKEN = "t0ken of the night shift"
ANSWERS = ["/api/status", "/api/history", "/api/labels", "/api/stopped?backfill=a&reason=b", "/api/video?id=1", "/play"]


async def is_ready() -> None:
    """Nothing stands against it."""


@asynccontextmanager
async def served(database: Database, token: str = "") -> AsyncIterator[str]:
    """The pages over an empty archive, of a process that owns no lane."""
    archive, playback = Archive(database), Playback(dict)
    questions = Questions("worker", Reports(database), archive, History(), playback)
    routes = WebPages(token, questions, archive, playback).routes()
    async with serve("127.0.0.1:0", metrics=Metrics(), ready=is_ready, pages=routes) as url:
        yield url


async def ask(url: str, *, cookies: Any = None, **options: Any) -> tuple[int, str, Mapping[str, str]]:
    """(status, text, headers) of one request; redirects are not followed."""
    async with aiohttp.ClientSession(cookies=cookies) as session:
        method = options.pop("method", "GET")
        async with session.request(method, url, allow_redirects=False, **options) as response:
            return response.status, await response.text(), response.headers


async def test_without_a_token_this_machine_sees_everything(database: Database):
    """Pages and answers are there for whoever asks by a name of this machine."""
    async with served(database) as url:
        port = url.rpartition(":")[2]
        for path in PAGES:
            status, text, _ = await ask(f"{url}{path}")
            assert (status, "<main" in text) == (200, True)
        for name in ("localhost", "127.0.0.1", "[::1]", "127.8.9.1"):
            status, text, _ = await ask(f"{url}/api/status", headers={"Host": f"{name}:{port}"})
            assert (status, json.loads(text)["backfills"]) == (200, [])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9108", "[", ""])
async def test_a_strangers_name_that_leads_here_shows_nothing(database: Database, host: str):
    """A page elsewhere whose name was rebound to this machine reads neither page nor answer."""
    async with served(database) as url:
        for path in (*PAGES, *ANSWERS):
            status, text, _ = await ask(f"{url}{path}", headers={"Host": host})
            assert status in (400, 421)
            assert "<main" not in text


async def test_with_a_token_nothing_is_shown_without_it(database: Database):
    """Pages ask for the token, answers refuse; health, readiness and metrics stay open."""
    async with served(database, TOKEN) as url:
        for path in PAGES:
            status, text, _ = await ask(f"{url}{path}")
            assert (status, 'action="/login"' in text) == (401, True)
        for path in ANSWERS:
            status, text, headers = await ask(f"{url}{path}")
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert json.loads(text).keys() == {"error"}
        for wrong in ("Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \udcff"):
            assert (await ask(f"{url}/api/status", headers={"Authorization": wrong}))[0] == 401
        assert (await ask(f"{url}/api/status", cookies={"modworker": TOKEN}))[0] == 401
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await ask(f"{url}{path}"))[0] == 200


async def test_the_token_opens_by_header_and_by_the_cookie_of_the_form(database: Database):
    """A script sends it as a bearer token; the form leaves a cookie that pages elsewhere cannot send or read."""
    async with served(database, TOKEN) as url:
        elsewhere = {"Authorization": f"bearer {TOKEN}", "Host": "moderation.example"}
        assert (await ask(f"{url}/api/status", headers=elsewhere))[0] == 200
        refused = await ask(f"{url}/login", method="POST", data={"token": "wrong"})
        assert (refused[0], "Set-Cookie" in refused[2]) == (403, False)
        status, _, headers = await ask(f"{url}/login", method="POST", data={"token": TOKEN})
        cookie, *marks = [part.strip() for part in headers["Set-Cookie"].split(";")]
        assert status == 204
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(marks)
        assert TOKEN not in headers["Set-Cookie"]
        name, _, value = cookie.partition("=")
        for path in (*PAGES, "/api/status"):
            assert (await ask(f"{url}{path}", cookies={name: value}))[0] == 200


async def test_nothing_may_be_loaded_from_elsewhere_or_kept(database: Database):
    """Every page and answer carries the headers that keep it to itself; the files may be kept, and are asked after."""
    async with served(database) as url:
        for path in (*PAGES, "/api/status", "/api/video?id=1"):
            _, _, headers = await ask(f"{url}{path}")
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
        for path in PAGES:
            _, _, headers = await ask(f"{url}{path}")
            assert headers["Content-Security-Policy"] == (
                "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
            )
        status, _, headers = await ask(f"{url}/files/style.css")
        assert (status, headers["Content-Type"]) == (200, "text/css; charset=utf-8")
        status, text, _ = await ask(f"{url}/files/style.css", headers={"If-None-Match": headers["ETag"]})
        assert (status, text) == (304, "")


@pytest.mark.parametrize(
    "name", ["../server.py", "%2e%2e/server.py", "login.html", "vendor/uplot/LICENSE", "", "nothing"]
)
async def test_only_the_files_of_the_pages_are_given_out(database: Database, name: str):
    """No name leads out of the folder, and pages are no files."""
    async with served(database) as url:
        assert (await ask(f"{url}/files/{name}"))[0] == 404


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("video", "id is a whole number"),
        ("video?id=one", "id is a whole number"),
        ("video?id=-1", "id is a whole number"),
        ("video?id=99999999999999999999", "id is a whole number"),
        ("stopped?backfill=a", "name the reason"),
        ("stopped?backfill=a%00&reason=b", "name the backfill"),
        ("stopped?backfill=a&reason=b&after=x", "after is a whole number"),
        ("search", "name the label"),
        ("search?label=a&confidence=much", "confidence is a number"),
        ("search?label=a&from=yesterday", "from is a time such as 2025-01-31T12:00:00Z"),
        ("search?label=a&after=80", "after is a whole number"),
        ("history?after=x", "after is a number"),
        ("object?bucket=a", "name the key"),
    ],
)
async def test_a_mistake_in_a_question_is_answered_with_a_sentence(database: Database, question: str, sentence: str):
    """What cannot be answered is refused with 400, and says what is wrong."""
    async with served(database) as url:
        status, text, _ = await ask(f"{url}/api/{question}")
        assert (status, json.loads(text)) == (400, {"error": sentence})


async def test_a_video_that_is_not_there_is_not_found(database: Database):
    """Its answer and its playback are 404; its page loads and says so itself."""
    async with served(database) as url:
        assert (await ask(f"{url}/api/video?id=1"))[0] == 404
        assert (await ask(f"{url}/play?id=1"))[0] == 404
        assert (await ask(f"{url}/video?id=1"))[0] == 200


async def test_an_unreachable_database_is_told_without_details(database: Database):
    """A page that cannot be answered says so; the reason is for the log."""
    async with served(database) as url:
        database.pool.terminate()
        status, text, _ = await ask(f"{url}/api/status")
        assert (await ask(f"{url}/video?id=1"))[0] == 200
    assert (status, json.loads(text)) == (503, {"error": "the database does not answer; the worker's log says why"})

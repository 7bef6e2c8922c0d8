"""The pages and what they ask: who may see them is decided here, for all of them alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import hdrs, web

from worker.store.archive import Archive
from worker.store.database import TRANSIENT
from worker.web import files
from worker.web.access import HEADERS, Access, content_security_policy
from worker.web.playback import Playback
from worker.web.questions import Questions

PAGES = {"/": "status.html", "/stopped": "stopped.html", "/video": "video.html", "/search": "search.html"}
LONGEST_FORM_BYTES = 4096
LOOK_SECONDS = 5.0


class WebPages:
    """Routes of the pages; `token` is "" where this machine's users may all see them."""

    def __init__(self, token: str, questions: Questions, archive: Archive, playback: Playback) -> None:
        self._access = Access(token)
        self._questions = questions
        self._archive = archive
        self._playback = playback

    def routes(self) -> list[web.RouteDef]:
        """Everything that the pages need."""
        pages = [web.get(path, self._access.guarded(self._page, otherwise=_ask_for_token)) for path in PAGES]
        answers = [
            web.get(path, self._access.guarded(self._questions.answer, otherwise=_refuse))
            for path in self._questions.answers
        ]
        return [
            *pages,
            *answers,
            web.get("/play", self._access.guarded(self._play, otherwise=_refuse)),
            web.post("/login", self._login),
            web.get("/files/{name:.+}", files.send),
        ]

    async def _page(self, request: web.Request) -> web.StreamResponse:
        origin = None
        if request.path == "/video":
            with suppress(*TRANSIENT):  # the page itself says that the database does not answer
                video = await self._named(request.query)
                origin = await self._playback.origin(video) if video else None
        return _html(PAGES[request.path], media_origin=origin)

    async def _play(self, request: web.Request) -> web.StreamResponse:
        """Lead the browser to the video."""
        video = await self._named(request.query)
        if video is None or (url := await self._playback.url(video)) is None:
            raise web.HTTPNotFound(text="the video cannot be reached from here\n", headers=HEADERS)
        return web.Response(status=302, headers={**HEADERS, hdrs.LOCATION: url})  # as it was signed, to the letter

    async def _named(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        text = query.get("id", "")
        is_number = text.isascii() and text.isdecimal() and len(text) < 19
        async with asyncio.timeout(LOOK_SECONDS):
            return await self._archive.video(int(text)) if is_number else None

    async def _login(self, request: web.Request) -> web.StreamResponse:
        if (request.content_length or 0) > LONGEST_FORM_BYTES:
            raise web.HTTPRequestEntityTooLarge(LONGEST_FORM_BYTES, request.content_length or 0)
        form = await request.post()
        if not self._access.is_right(str(form.get("token", ""))):
            return web.Response(status=403, text="this is not the token\n", headers=HEADERS)
        response = web.Response(status=204, headers=HEADERS)
        self._access.let_in(request, response)
        return response


async def _ask_for_token(_: web.Request) -> web.StreamResponse:
    return _html("login.html", status=401)


async def _refuse(_: web.Request) -> web.StreamResponse:
    headers = {**HEADERS, "WWW-Authenticate": "Bearer"}
    return web.json_response({"error": "a token is asked for here"}, status=401, headers=headers)


def _html(name: str, *, status: int = 200, media_origin: str | None = None) -> web.Response:
    headers = {**HEADERS, "Content-Security-Policy": content_security_policy(media_origin)}
    return web.Response(text=files.text_of(name), status=status, content_type="text/html", headers=headers)

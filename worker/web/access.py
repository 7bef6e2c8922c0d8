"""Who may see the pages: whoever knows the token, or, where none is set, whoever is at this machine."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from worker.config import is_loopback

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE = "modworker"
_PURPOSE = b"modworker pages"

HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On everything but the files that tell nothing of the archive."""


def content_security_policy(media_origin: str | None = None) -> str:
    """Nothing from elsewhere, and no code within the pages; videos from one place besides, if there is one."""
    media = f"media-src 'self' {media_origin}; " if media_origin else ""
    return f"default-src 'self'; {media}base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


class Access:
    """Compares tokens in constant time. The cookie holds a digest of the token, and lasts as long as the browser."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._cookie = hmac.new(self._token, _PURPOSE, hashlib.sha256).hexdigest()

    def guarded(self, handler: Handler, *, otherwise: Handler) -> Handler:
        """The handler for those who may see what it shows, `otherwise` for the others."""

        async def guard(request: web.Request) -> web.StreamResponse:
            if not self._token and not _names_this_machine(request):
                raise web.HTTPMisdirectedRequest(text="ask for this page as localhost or 127.0.0.1\n", headers=HEADERS)
            return await (handler if self._admits(request) else otherwise)(request)

        return guard

    def is_right(self, token: str) -> bool:
        """True for the token that is set."""
        return hmac.compare_digest(_bytes(token), self._token)

    def let_in(self, request: web.Request, response: web.StreamResponse) -> None:
        """Have the browser show from now on that it knows the token."""
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="Strict", secure=request.secure, path="/")

    def _admits(self, request: web.Request) -> bool:
        if not self._token:
            return True
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_right(token.strip())
        return hmac.compare_digest(_bytes(request.cookies.get(COOKIE, "")), self._cookie.encode())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _names_this_machine(request: web.Request) -> bool:
    """False where a stranger's name was made to lead here, so that his page could read ours."""
    try:
        host = urlsplit(f"//{request.host}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)

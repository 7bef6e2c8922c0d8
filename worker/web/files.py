"""The files of the pages, read once. They tell nothing of the archive, so that anybody may have them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import hdrs, web

_FOLDER = Path(__file__).parent / "files"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def text_of(name: str) -> str:
    """A file's text."""
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _etag_of(name: str) -> str:
    return hashlib.sha256(text_of(name).encode()).hexdigest()[:16]


@cache
def names() -> frozenset[str]:
    """What there is beside the HTML: styles, modules, pictures."""
    paths = (path for path in _FOLDER.rglob("*") if path.suffix in _TYPES and path.suffix != ".html")
    return frozenset(path.relative_to(_FOLDER).as_posix() for path in paths)


async def send(request: web.Request) -> web.StreamResponse:
    """The file that is named in the path; browsers keep it and ask whether it is still the same."""
    name = request.match_info["name"]
    if name not in names():
        raise web.HTTPNotFound(text="there is no such file\n")
    headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.ETAG: f'"{_etag_of(name)}"', "X-Content-Type-Options": "nosniff"}
    if any(etag.value == _etag_of(name) for etag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.Response(text=text_of(name), content_type=_TYPES[Path(name).suffix], headers=headers)
    response.enable_compression()
    return response

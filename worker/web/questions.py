"""What the pages ask, as JSON; a mistake in a question is answered with 400 and a sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from aiohttp import web

from worker.store.archive import Archive, Position, Wanted
from worker.store.database import is_transient
from worker.store.reports import Counts, Reports, as_status
from worker.web.access import HEADERS
from worker.web.history import History
from worker.web.playback import Playback
from worker.web.shared import Shared

TALLIES_SECONDS = 1.0
COUNTS_SECONDS = 3.0
COUNTS_SHARE = 1 / 200  # of a core: there may be millions of videos without labels to count
ANSWER_SECONDS = 15.0
CONNECTIONS = 2  # of the pool's, so that many viewers never keep the work waiting
_LARGEST_ID = 2**63 - 1

Answer = Callable[[Mapping[str, str]], Awaitable[Any]]

log = structlog.get_logger()


class Mistake(Exception):  # noqa: N818 (it is the asker's)
    """One sentence for whoever asked."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Questions:
    """Answers by path; `name` is that of the process, for people to read."""

    def __init__(self, name: str, reports: Reports, archive: Archive, history: History, playback: Playback) -> None:
        self._name = name
        self._archive = archive
        self._history = history
        self._playback = playback
        self._tallies = Shared(reports.tallies, good_for_seconds=TALLIES_SECONDS)
        self._counts = Shared(lambda: _timed(reports.counts), good_for_seconds=COUNTS_SECONDS, most_share=COUNTS_SHARE)
        self._at_once = asyncio.Semaphore(CONNECTIONS)
        self.answers: dict[str, Answer] = {
            "/api/status": self._status,
            "/api/history": self._lately,
            "/api/stopped": self._stopped,
            "/api/video": self._video,
            "/api/object": self._object,
            "/api/labels": self._labels,
            "/api/search": self._search,
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to the question that the path names."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._at_once:
                document = await self.answers[request.path](request.query)
        except Mistake as mistake:
            return _json({"error": str(mistake)}, mistake.status)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("page could not be answered", path=request.path, error=error)
            return _json({"error": "the database does not answer; the worker's log says why"}, 503)
        return _json(document)

    async def _status(self, _: Mapping[str, str]) -> dict[str, Any]:
        tallies = await self._tallies.get()
        counted_at, counts = await self._counts.get()
        return {"at": time.time(), "counted_at": counted_at, "worker": self._name, **as_status(tallies, counts)}

    async def _lately(self, query: Mapping[str, str]) -> dict[str, Any]:
        return self._history.since(_number(query, "after", 0.0))

    async def _stopped(self, query: Mapping[str, str]) -> dict[str, Any]:
        backfill, reason = _text(query, "backfill"), _text(query, "reason")
        return {"videos": await self._archive.stopped(backfill, reason, _id(query, "after", 0))}

    async def _video(self, query: Mapping[str, str]) -> dict[str, Any]:
        video = await self._archive.video(_id(query, "id"))
        if video is None:
            raise Mistake("there is no such video; it may have been purged", 404)
        is_done = video["state"] == "done"
        job_id = video.pop("job_id")
        return {
            "video": video,
            "others": await self._others(video),
            "labels": await self._archive.timeline(job_id) if is_done else [],
            "content_types": await self._archive.content_types(job_id) if is_done else [],
            "unplayable": self._playback.obstacle(video["lane"]),
        }

    async def _others(self, video: Mapping[str, Any]) -> list[dict[str, Any]]:
        places = await self._archive.places(video["bucket"], video["key"])
        return [place for place in places if place["id"] != video["id"]]

    async def _object(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"videos": await self._archive.places(_text(query, "bucket"), _text(query, "key"))}

    async def _labels(self, _: Mapping[str, str]) -> dict[str, Any]:
        return {"labels": await self._archive.dictionary()}

    async def _search(self, query: Mapping[str, str]) -> dict[str, Any]:
        wanted = Wanted(
            label=_text(query, "label"),
            confidence=_number(query, "confidence", 0.0),
            backfill=query.get("backfill") or None,
            settled_from=_time(query, "from"),
            settled_before=_time(query, "before"),
        )
        found = await self._archive.search(wanted, _position(query))
        position = found.next and f"{found.next.confidence!r}:{found.next.job_id}:{found.next.label_id}"
        return {"videos": found.videos, "looked_at": found.looked_at, "next": position}


async def _timed(count: Callable[[], Awaitable[Counts]]) -> tuple[float, Counts]:
    counts = await count()
    return time.time(), counts


def _json(document: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(document)
    response = web.Response(body=body, status=status, content_type="application/json", headers=HEADERS)
    if len(body) > 10_000:
        response.enable_compression()
    return response


def _text(query: Mapping[str, str], name: str) -> str:
    if not (text := query.get(name, "")) or "\x00" in text:
        raise Mistake(f"name the {name}")
    return text


def _number(query: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(query.get(name) or default)
    except ValueError:
        raise Mistake(f"{name} is a number") from None


def _id(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = query.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > _LARGEST_ID:
        raise Mistake(f"{name} is a whole number")
    return int(text)


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    if not (text := query.get(name)):
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Mistake(f"{name} is a time such as 2025-01-31T12:00:00Z") from None


def _position(query: Mapping[str, str]) -> Position:
    """As a page of the search gave it."""
    if not (text := query.get("after")):
        return Position()
    confidence, job_id, label_id = [*text.split(":", 2), "", ""][:3]
    return Position(
        _number({"after": confidence}, "after", 0.0),
        _id({"after": job_id}, "after"),
        _id({"after": label_id}, "after", 0),
    )

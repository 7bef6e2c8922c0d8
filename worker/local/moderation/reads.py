"""GetContentModeration."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from worker.local.analysts.analysis import Analysis
from worker.local.cache import Cache
from worker.local.faults.faults import Faults
from worker.local.moderation.page_tokens import PageTokens, expired_token
from worker.local.moderation.runner import Look, Runners
from worker.local.moderation.views import Reading, View, progress_of, view_of
from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError, documented
from worker.local.state import jobs
from worker.local.state.database import Database
from worker.local.state.jobs import Job

LARGEST_PAGE = 1000  # of entries, the most that GetContentModeration returns
_RESULTS_MS = 7 * 86_400_000  # that a finished job can be asked for
CACHE_BYTES = 64 * 2**20
_AT_ONCE = 2  # views in the making: one that takes a second does not hold up the others


class Reads:
    """Reads jobs page by page; the views of those read last are kept, and one in the making is made once for all."""

    def __init__(
        self,
        database: Database,
        runners: Runners,
        tokens: PageTokens,
        faults: Faults,
        largest_page: int = LARGEST_PAGE,
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._runners = runners
        self._tokens = tokens
        self._faults = faults
        self._largest_page = largest_page
        self._views: Cache[Reading, View] = Cache(CACHE_BYTES)
        self._making: dict[Reading, asyncio.Task[View]] = {}
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def get(self, caller: Caller, request: dict[str, Any]) -> bytes:
        """Answer a request that has been checked against its shape."""
        reading = Reading(
            request["JobId"], request.get("SortBy") or "TIMESTAMP", request.get("AggregateBy") or "TIMESTAMPS"
        )
        if (view := self._views.get(reading)) is None:
            job = self._job(caller, reading.job_id)
            if job.ended_at_ms is None:
                if request.get("NextToken"):
                    raise documented("InvalidPaginationTokenException")
                return progress_of(job, reading)
            view = await self._view(job, reading)
        self._require_readable(caller, view.job)
        return self._page(view, reading, request)

    def _page(self, view: View, reading: Reading, request: dict[str, Any]) -> bytes:
        scope = f"{reading.job_id}/{reading.sort_by}/{reading.aggregate_by}"
        token = request.get("NextToken")
        size = min(self._largest_page, request.get("MaxResults") or LARGEST_PAGE)
        first = 0 if not token else self._tokens.offset(scope, token, self._clock.now_ms())
        if first and self._faults.expires_token(view.job, first // size + 1):
            raise expired_token()
        if first > view.count:
            raise documented("InvalidPaginationTokenException")
        end = min(view.count, first + size)
        following = None if end == view.count else self._tokens.issue(scope, end, self._clock.now_ms())
        return view.page(first, end, following)

    def _job(self, caller: Caller, job_id: str) -> Job:
        if (job := jobs.find(self._database.reader, job_id)) is None:
            raise _unknown_job()
        self._require_readable(caller, job)
        return job

    def _require_readable(self, caller: Caller, job: Job) -> None:
        """Other accounts' jobs are as unknown as those whose results have expired."""
        has_expired = job.ended_at_ms is not None and job.ended_at_ms + _RESULTS_MS < self._clock.now_ms()
        if has_expired or (job.account, job.region) != (caller.account, caller.region):
            raise _unknown_job()

    async def _view(self, job: Job, reading: Reading) -> View:
        """The view, made by a task of its own, which outlives the caller who came first."""
        if (making := self._making.get(reading)) is None:
            making = self._making[reading] = asyncio.create_task(self._make(job, reading))
            making.add_done_callback(lambda _: self._making.pop(reading))
        return await asyncio.shield(making)

    async def _make(self, job: Job, reading: Reading) -> View:
        look = self._look(job)
        view = await anyio.to_thread.run_sync(lambda: view_of(job, look(), reading), limiter=self._limiter)
        self._views.put(reading, view, view.size_bytes)
        return view

    def _look(self, job: Job) -> Look:
        if job.status == jobs.FAILED:
            return partial(Analysis, failure=job.status_message, metadata=None, labels=[])
        return self._runners.look(job)


def _unknown_job() -> ServiceError:
    return ServiceError("ResourceNotFoundException", "Could not find JobId")

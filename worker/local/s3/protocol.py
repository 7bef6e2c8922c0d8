"""S3's way to call: method, path and query name the operation; refusals are XML."""

from __future__ import annotations

from aiohttp import hdrs, web

from worker.local.protocol.identity import Caller
from worker.local.protocol.refusals import ServiceError
from worker.local.s3.addressing import operation_of
from worker.local.s3.refusals import S3Error, refusal
from worker.local.s3.service import S3


class S3Protocol:
    """Carries out the operations of S3."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3

    def operation_of(self, request: web.Request) -> str:
        """By method, path and query."""
        return operation_of(request)

    async def carry_out(self, caller: Caller, operation: str, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 (the request tells it)
        """Answer the request."""
        return await self._s3.answer(caller, request)

    def refusal(self, error: ServiceError, request: web.Request, request_id: str) -> web.Response:
        """HEAD is refused without a body."""
        body = b"" if request.method == hdrs.METH_HEAD else refusal(error, request.path, request_id)
        headers = error.headers if isinstance(error, S3Error) else None
        return web.Response(body=body, status=error.status, content_type="application/xml", headers=headers)

"""Spoils answers: the connection is reset, or what arrives is cut or garbled."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from worker.local.protocol.streamed import Streamed

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no time: the peer hears a reset, not an orderly end
_GARBLED = b'{"JobId": <html>'


def reset(request: web.Request) -> web.Response:
    """Reset the connection; the response is for the server's bookkeeping, nobody hears it."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        request.transport.abort()
    return web.Response()


async def truncated(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """Send the head and half of the body, then close."""
    chunks = answer.chunks if isinstance(answer, Streamed) else _at_once(answer)
    async with aclosing(chunks):
        cut = web.StreamResponse(status=answer.status, headers=answer.headers)
        cut.content_length = answer.content_length
        await cut.prepare(request)
        left_bytes = (answer.content_length or 0) // 2
        while left_bytes and (chunk := await anext(chunks, b"")):
            await cut.write(chunk[:left_bytes])
            left_bytes -= len(chunk[:left_bytes])
    if request.transport is not None:
        request.transport.close()
    return cut


async def _at_once(answer: web.StreamResponse) -> AsyncGenerator[bytes, None]:
    if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
        yield answer.body


def garbled(answer: web.StreamResponse) -> web.Response:
    """A well-formed answer of HTTP whose body no protocol knows."""
    return web.Response(body=_GARBLED, status=answer.status, content_type=answer.content_type)

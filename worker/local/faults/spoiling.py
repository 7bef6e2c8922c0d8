"""Spoils answers: the connection is reset, or what arrives is cut or garbled."""

from __future__ import annotations

import socket
import struct

from aiohttp import web

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
    """Send the head and half of the body, then close; of a body that is not at hand, the head alone."""
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = answer.content_length or len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


def garbled(answer: web.StreamResponse) -> web.Response:
    """A well-formed answer of HTTP whose body no protocol knows."""
    return web.Response(body=_GARBLED, status=answer.status, content_type=answer.content_type)

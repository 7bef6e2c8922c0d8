"""Answers as RFC 9112 wants them, read from a connection without any forbearance."""

from __future__ import annotations

import asyncio
import re

import msgspec

_STATUS_LINE = re.compile(rb"HTTP/(0\.9|1\.[01]) ([1-5]\d\d) [\t -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}(;[\t -~]*)?\r\n")
_LONGEST_BODY_BYTES = 2**20


class MalformedAnswerError(Exception):
    """What arrived is no HTTP."""


class Answer(msgspec.Struct, frozen=True):
    """An answer; `body` is None where it is longer than a megabyte and was left unread."""

    status: int
    headers: dict[str, str]
    body: bytes | None

    @property
    def ends_connection(self) -> bool:
        """Whether nothing can be asked on the connection any more."""
        return self.body is None or self.headers.get("connection", "").lower() == "close"


async def read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    """The next final answer.

    Raises:
        MalformedAnswerError: it is no HTTP, or is cut short.
        EOFError: the connection ends where an answer would begin.

    """
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as cut:
            if cut.partial:
                raise MalformedAnswerError(f"cut in its head: {cut.partial!r}") from None
            raise EOFError from None
        status, headers = _read_head(head)
        if status >= 200:
            return Answer(status, headers, await _read_body(reader, method, status, headers))


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head[:-4].split(b"\r\n")
    if (stated := _STATUS_LINE.fullmatch(status_line)) is None:
        raise MalformedAnswerError(f"its first line is {status_line!r}")
    headers: dict[str, str] = {}
    for line in lines:
        if (field := _FIELD.fullmatch(line)) is None:
            raise MalformedAnswerError(f"no header: {line!r}")
        name = field[1].decode().lower()
        if name in headers and name in {"content-length", "transfer-encoding"}:
            raise MalformedAnswerError(f"two headers {name}")
        headers[name] = field[2].decode("latin-1")
    if stated[1] != b"1.1":
        headers.setdefault("connection", "close")
    return int(stated[2]), headers


async def _read_body(reader: asyncio.StreamReader, method: str, status: int, headers: dict[str, str]) -> bytes | None:
    if method == "HEAD" or status in {204, 304}:
        return b""
    try:
        if "transfer-encoding" in headers:
            return await _read_chunks(reader)
        if "content-length" not in headers:
            return await _read_to_end(reader, headers)
        length_bytes = int(headers["content-length"])
        return await reader.readexactly(length_bytes) if length_bytes <= _LONGEST_BODY_BYTES else None
    except asyncio.IncompleteReadError as cut:
        raise MalformedAnswerError(f"cut after {len(cut.partial)} bytes of a part of its body") from None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes | None:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        if _CHUNK_SIZE.fullmatch(line) is None:
            raise MalformedAnswerError(f"a chunk begins with {line!r}")
        chunk = await reader.readexactly(int(line.partition(b";")[0], 16) + 2)
        if not chunk.endswith(b"\r\n"):
            raise MalformedAnswerError("a chunk has another length than it says")
        if len(chunk) == 2:
            return bytes(body)
        body += chunk[:-2]
        if len(body) > _LONGEST_BODY_BYTES:
            return None


async def _read_to_end(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("connection", "").lower() != "close":
        raise MalformedAnswerError("nothing tells where its body ends")
    return await reader.read(-1)

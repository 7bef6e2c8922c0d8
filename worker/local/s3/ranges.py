"""The header Range: https://www.rfc-editor.org/rfc/rfc9110#section-14 as S3 reads it."""

from __future__ import annotations

import re

import msgspec

from worker.local.s3.refusals import S3Error

_SINGLE_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


class Part(msgspec.Struct, frozen=True):
    """The bytes of an object that are to be sent."""

    first_byte: int
    length_bytes: int

    def content_range(self, size_bytes: int) -> str:
        """The header of that name."""
        return f"bytes {self.first_byte}-{self.first_byte + self.length_bytes - 1}/{size_bytes}"


def wanted_part(header: str | None, size_bytes: int) -> Part | None:
    """The part that is asked for; None for all of the object, as where several ranges or nonsense are asked for.

    Raises:
        S3Error: the range holds no byte of the object.

    """
    asked = None if header is None else _SINGLE_RANGE.fullmatch(header.strip())
    if header is None or asked is None:
        return None
    first, last, suffix = asked.groups()
    if suffix is not None:
        length_bytes = min(int(suffix), size_bytes)
        part = Part(size_bytes - length_bytes, length_bytes)
    elif last and int(last) < int(first):
        return None
    else:
        end = min(int(last) + 1, size_bytes) if last else size_bytes
        part = Part(int(first), end - int(first))
    if part.length_bytes <= 0:
        raise S3Error(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            {"RangeRequested": header, "ActualObjectSize": str(size_bytes)},
            {"Content-Range": f"bytes */{size_bytes}"},
        )
    return part

"""Receipt handles: which message of which queue was handed out.

A handle shows by itself that it was made here for its queue, so that one of another queue, or a made-up one, is told
from one that has had its day.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

_NUMBER_BYTES = 8
_LARGEST_NUMBER = 2**63 - 1  # that SQLite has
_NONCE_BYTES = 16
_SEAL_BYTES = 8


def new_handle(queue: str, number: int) -> str:
    """A handle of a receive of the queue's message; no two are the same."""
    content = number.to_bytes(_NUMBER_BYTES) + secrets.token_bytes(_NONCE_BYTES)
    return base64.urlsafe_b64encode(content + _seal(queue, content)).decode()


def number_of(queue: str, handle: str) -> int | None:
    """The number of the message; None for what is no handle of this queue."""
    try:
        made = base64.b64decode(handle, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    content, seal = made[:-_SEAL_BYTES], made[-_SEAL_BYTES:]
    if len(content) != _NUMBER_BYTES + _NONCE_BYTES or seal != _seal(queue, content):
        return None
    number = int.from_bytes(content[:_NUMBER_BYTES])
    return number if number <= _LARGEST_NUMBER else None


def _seal(queue: str, content: bytes) -> bytes:
    return hashlib.blake2b(queue.encode() + content, digest_size=_SEAL_BYTES).digest()

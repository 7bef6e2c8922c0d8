"""Continuation tokens: where a listing goes on, unreadable enough that nobody takes them for keys."""

from __future__ import annotations

import base64
import binascii

from worker.local.s3.refusals import invalid_argument


def token_of(position: str) -> str:
    """The token of a position that is not empty."""
    return base64.urlsafe_b64encode(position.encode()).decode()


def position_of(token: str) -> str:
    """The position that the token was made of.

    Raises:
        S3Error: it was not made by `token_of`.

    """
    try:
        position = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        position = ""
    if not position or token_of(position) != token:
        raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token)
    return position

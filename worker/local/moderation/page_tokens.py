"""NextTokens: they carry the place to go on at, signed, so that nothing has to be remembered for them."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct

from worker.local.protocol.refusals import ServiceError, documented

_PLACE = struct.Struct(">QI")  # issued at (ms since the epoch), offset
_SIGNATURE_BYTES = 16
_LIFETIME_MS = 24 * 3_600_000


class PageTokens:
    """Issues and reads tokens, each good for one scope: a job and the way it is read."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, scope: str, offset: int, now_ms: int) -> str:
        """A token of 38 characters that leads to `offset`."""
        place = _PLACE.pack(now_ms, offset)
        return base64.urlsafe_b64encode(place + self._signature(scope, place)).decode().rstrip("=")

    def offset(self, scope: str, token: str, now_ms: int) -> int:
        """Where the token leads.

        Raises:
            ServiceError: the token is too old, or was issued for another scope, or not issued here.

        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        place = raw[: _PLACE.size]
        if len(raw) != _PLACE.size + _SIGNATURE_BYTES or not hmac.compare_digest(
            raw[_PLACE.size :], self._signature(scope, place)
        ):
            raise documented("InvalidPaginationTokenException")
        issued_at_ms, offset = _PLACE.unpack(place)
        if now_ms - issued_at_ms > _LIFETIME_MS:
            raise expired_token()
        return int(offset)

    def _signature(self, scope: str, place: bytes) -> bytes:
        return hmac.digest(self._secret, scope.encode() + b"\0" + place, "sha256")[:_SIGNATURE_BYTES]


def expired_token() -> ServiceError:
    """The answer to a token that was good once."""
    return ServiceError("InvalidPaginationTokenException", "The token might have expired.")

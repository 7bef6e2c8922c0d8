"""AWS's Signature Version 4 of requests to one host. The key of a day is derived once.

Source: "Create a signed AWS API request" in the IAM User Guide.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from hashlib import sha256
from urllib.parse import urlsplit

from botocore.credentials import ReadOnlyCredentials
from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Unsigned(Struct, frozen=True):
    """A request as its signature sees it: S3's path is signed as it is sent, that of other services encoded again.

    The names of headers are in lower case, the query is encoded and sorted.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""
    body: bytes = b""


class Signature:
    """Signs what is sent to one host, in the name of a service in a region."""

    def __init__(self, url: str, service: str, region: str) -> None:
        self.region = region
        self._host = _host(url)
        self._service = service
        self._key_of: tuple[str, str] | None = None
        self._key = b""

    def signed(self, request: Unsigned, credentials: ReadOnlyCredentials, at: datetime) -> dict[str, str]:
        """The headers to send; `at` is in UTC."""
        moment = at.strftime("%Y%m%dT%H%M%SZ")
        signed = {**request.headers, "host": self._host, "x-amz-date": moment}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        listed = ";".join(names)
        lines = "".join(f"{name}:{signed[name]}\n" for name in names)
        body = sha256(request.body).hexdigest()
        asked = f"{request.method}\n{request.path}\n{request.query}\n{lines}\n{listed}\n{body}"
        scope = f"{moment[:8]}/{self.region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(asked.encode()).hexdigest()}"
        signature = _mac(self._key_for(credentials.secret_key or "", moment[:8]), text).hex()
        given = f"Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        return {**signed, "authorization": f"{_ALGORITHM} {given}"}

    def _key_for(self, secret: str, day: str) -> bytes:
        if self._key_of != (secret, day):
            parts = (day, self.region, self._service, "aws4_request")
            self._key = reduce(_mac, parts, f"AWS4{secret}".encode())
            self._key_of = (secret, day)
        return self._key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _host(url: str) -> str:
    """As it stands in the Host header: without the user, and without the port that goes without saying."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port}" if parts.port and parts.port != _DEFAULT_PORTS.get(parts.scheme) else f"{host}"

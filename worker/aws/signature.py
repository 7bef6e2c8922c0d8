"""AWS's Signature Version 4 of POST requests to one URL. The key of a day is derived once.

Source: "Create a signed AWS API request" in the IAM User Guide.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from hashlib import sha256
from urllib.parse import quote, urlsplit

from botocore.credentials import ReadOnlyCredentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signature:
    """Signs what is posted to one URL of a service in a region; the URL has no query."""

    def __init__(self, url: str, service: str, region: str) -> None:
        self._path = quote(urlsplit(url).path, safe="/~") or "/"
        self._host = _host(url)
        self._region = region
        self._service = service
        self._key_of: tuple[str, str] | None = None
        self._key = b""

    def signed(
        self, headers: Mapping[str, str], body: bytes, credentials: ReadOnlyCredentials, at: datetime
    ) -> dict[str, str]:
        """The headers to send; those given have names in lower case, and `at` is in UTC."""
        moment = at.strftime("%Y%m%dT%H%M%SZ")
        signed = {**headers, "host": self._host, "x-amz-date": moment}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        listed = ";".join(names)
        lines = "".join(f"{name}:{signed[name]}\n" for name in names)
        request = f"POST\n{self._path}\n\n{lines}\n{listed}\n{sha256(body).hexdigest()}"
        scope = f"{moment[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = _mac(self._key_for(credentials.secret_key or "", moment[:8]), text).hex()
        given = f"Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        return {**signed, "authorization": f"{_ALGORITHM} {given}"}

    def _key_for(self, secret: str, day: str) -> bytes:
        if self._key_of != (secret, day):
            parts = (day, self._region, self._service, "aws4_request")
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

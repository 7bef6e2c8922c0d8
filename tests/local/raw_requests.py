"""Requests that are sent as they stand: no client escapes their paths or follows their answers."""

from __future__ import annotations

import http.client
import urllib.parse

from tests.local.conftest import Service

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=LOCAL123456789012/20260101/us-east-1/s3/aws4_request"}


def connected(service: Service) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urllib.parse.urlsplit(service.url).netloc, timeout=10)


def exchange(
    service: Service, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """(status, headers, body) of the first megabyte at most."""
    connection = connected(service)
    connection.request(method, path, body=body, headers=SIGNED | headers)
    answer = connection.getresponse()
    status, told, content = answer.status, answer.headers, answer.read(2**20)
    answer.close()
    connection.close()
    return status, told, content

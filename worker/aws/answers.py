"""What comes of a call: an answer of bounded size, or an `AwsError` with its verdict."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 (botocore's own, for endpoints that cannot be reached)
    HTTPClientError,
    ParamValidationError,
)
from botocore.httpsession import create_urllib3_context, get_cert_path

from worker.errors import AwsError, UnreadableError, Verdict, verdict_on
from worker.log import redacted

LABELS_A_PAGE = 1_000  # the most that GetContentModeration returns
_LARGEST_ENTRY_BYTES = 8_192  # name, parent and the kinds of content, each of 256 symbols of 4 bytes, and their frame
LARGEST_PAGE_BYTES = LABELS_A_PAGE * _LARGEST_ENTRY_BYTES + 65_536
_LARGEST_LISTING_BYTES = 1_000 * (3 * 1_024 + 1_024) + 65_536  # a thousand keys, percent-encoded, each with its frame
_LARGEST_BATCH_BYTES = 10 * 6 * 2**20 + 65_536  # ten messages of 1 MiB, of which JSON may write each byte as six
LARGEST_BYTES = {
    "rekognition": LARGEST_PAGE_BYTES,
    "s3": _LARGEST_LISTING_BYTES,
    "sqs": _LARGEST_BATCH_BYTES,
    "sns": 1_048_576,  # a page of subscriptions, a topic's policy of 30 KiB
    "iam": 1_048_576,  # a policy of 10 KiB, percent-encoded
}
"""Service -> bytes of the largest answer that it can mean; those that give credentials or quotas mean little ones."""
_LARGEST_OTHER_BYTES = 65_536

LONGEST_MESSAGE = 1_000  # symbols of AWS's words that are kept
_CODE = re.compile(r"[A-Za-z0-9._-]{1,128}")  # codes become labels of metrics


class _TooLargeError(Exception):
    """An answer beyond what its service can mean."""


_UNREADABLE_HEADS = (aiohttp.ClientResponseError, UnicodeDecodeError)


class BoundedSession(AIOHTTPSession):
    """Reads no more of an answer than its service can mean."""

    _verify: bool | str
    _max_pool_connections: int
    _connector_args: dict[str, Any]

    def __init__(self, largest_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._largest_bytes = largest_bytes
        with suppress(OSError):  # the first call will tell of it
            self._trust()

    async def send(self, request: Any) -> Any:
        """Send a request; its answer is read here, unless it is to be streamed."""
        is_streamed, request.stream_output = request.stream_output, True
        answer = await super().send(request)
        if not is_streamed:
            answer.raw = _Body(await _read(answer.raw, self._largest_bytes))
        return answer

    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:  # noqa: ARG002 (it changes nothing)
        """The SDK's own reads the certificates anew for each client, and behind a proxy it trusts anybody."""
        return aiohttp.TCPConnector(limit=self._max_pool_connections, ssl=self._trust(), **self._connector_args)

    def _trust(self) -> ssl.SSLContext:
        """Whom a certificate shows to be AWS.

        Raises:
            OSError: if the operator's certificates cannot be read.

        """
        return _trusting(get_cert_path(self._verify or True))  # type: ignore[arg-type]


@cache
def _trusting(certificates: str) -> ssl.SSLContext:
    """Shared by all connections: reading the certificates takes tens of milliseconds."""
    context: ssl.SSLContext = create_urllib3_context()
    context.load_verify_locations(certificates)
    return context


class Connections:
    """Makes the HTTP session of one client, and keeps it at hand: the client shows it to nobody."""

    session: BoundedSession

    def __init__(self, service: str) -> None:
        self._largest_bytes = LARGEST_BYTES.get(service, _LARGEST_OTHER_BYTES)

    def __call__(self, **options: Any) -> BoundedSession:
        """As botocore calls the class of its own."""
        self.session = BoundedSession(self._largest_bytes, **options)
        return self.session


class _Body:
    """A body that was read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content


async def _read(response: aiohttp.ClientResponse, largest_bytes: int) -> bytes:
    """The whole body.

    Raises:
        _TooLargeError: as soon as that is known; the rest is not read.

    """
    content = bytearray()
    try:
        if (
            response.method == "HEAD" or (response.content_length or 0) <= largest_bytes
        ):  # HEAD tells of no body of its own
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > largest_bytes:
                    break
            else:
                return bytes(content)
    except BaseException:
        response.close()
        raise
    response.close()
    raise _TooLargeError(f"the answer is larger than {largest_bytes:,} bytes")


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever a call may raise into an `AwsError` with its verdict.

    botocore's parsers let many kinds of errors through when an answer is not of the documented shape: whatever is not
    known here is such an answer.
    """
    try:
        yield
    except AwsError:
        raise
    except ClientError as error:
        raise _refusal(error) from None
    except ParamValidationError as error:
        raise AwsError(Verdict.JOB_FAILED, type(error).__name__, _short(error)) from None
    except (ConnectionError, HTTPClientError, aiohttp.ClientError, OSError) as error:
        cause = getattr(error, "kwargs", {}).get("error")
        if isinstance(cause, _UNREADABLE_HEADS):
            raise UnreadableError(_short(cause)) from None
        raise AwsError(Verdict.RETRY, type(error).__name__, _short(error)) from None
    except BotoCoreError as error:  # of credentials, profiles and endpoints: no video is to blame
        raise AwsError(Verdict.STOP_LANE, type(error).__name__, _short(error)) from None
    except _TooLargeError as error:
        raise UnreadableError(str(error)) from None
    except Exception as error:  # noqa: BLE001 (of whatever kind: it comes from the answer)
        raise UnreadableError(f"{type(error).__name__}: {_short(error)}") from None


def _refusal(error: ClientError) -> AwsError:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(said.get("Code", ""))
    if not _CODE.fullmatch(code):
        code = "Unknown"
    return AwsError(verdict_on(code, status), code, _short(said.get("Message", "")), date_of(error.response))


def date_of(response: Mapping[str, Any]) -> str:
    """When AWS answered, by its own clock, as the HTTP header says it."""
    return str(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))


def _short(said: object) -> str:
    """As much of it as anybody would read, without secrets: it is logged, shown and kept in the database.

    An answer to a wrong signature repeats the request's headers; one that was cut short may end within new credentials.
    """
    return redacted(str(said)[: 10 * LONGEST_MESSAGE])[:LONGEST_MESSAGE]

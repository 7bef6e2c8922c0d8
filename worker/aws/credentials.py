"""Credentials that are read anew once AWS has refused them, so that new keys need no restart."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

from worker.aws.answers import translated
from worker.errors import PASSING, AwsError, UnreadableError, Verdict

Found = AioCredentials | AioRefreshableCredentials
Read = Callable[[], Awaitable[Found | None]]
"""Reads credentials from wherever they are kept now; None if there are none."""

REREAD_SECONDS = 1.0  # at the soonest after the last reading, however many calls are refused meanwhile
REFUSALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
        "400",  # HEAD has no body that could say more
        "403",
    }
)
"""Codes of errors that other credentials may put right."""


class RenewedCredentials(AioCredentials):
    """What `read` gave last; after a refusal, and after a reading that failed, it is asked again.

    `guard`, once it is set, is shown what is read anew, and raises an `AwsError` for what must not be used.
    """

    def __init__(self, read: Read) -> None:
        super().__init__("", "", method="modworker")
        self.guard: Callable[[Found], Awaitable[None]] | None = None
        self._read = read
        self._reading = anyio.Lock()
        self._last: Found | AwsError = AwsError(Verdict.STOP_LANE, "NoCredentials", "they were not read yet")
        self._is_stale = True
        self._read_at = -math.inf

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:  # type: ignore[override]
        """What the next call is signed with; credentials that expire are renewed by botocore before they do.

        Raises:
            AwsError: STOP_LANE if there are none, RETRY if whoever gives them cannot be reached.

        """
        if self._is_stale:
            async with self._reading:
                await self._read_anew()
        with _no_fault_of_the_call():
            if isinstance(self._last, AwsError):
                raise self._last
            frozen: ReadOnlyCredentials = await self._last.get_frozen_credentials()
            return frozen

    async def _read_anew(self) -> None:
        """Read, unless another call has done so while this one waited for its turn, or a moment ago in vain."""
        if not self._is_stale or time.monotonic() - self._read_at < REREAD_SECONDS:
            return
        try:
            with translated():
                self._last, self._is_stale = await self._found(), False
        except AwsError as error:
            self._last = error
        self._read_at = time.monotonic()

    async def _found(self) -> Found:
        found = await self._read()
        if found is None:
            raise NoCredentialsError
        if self.guard:
            await self.guard(found)
        return found

    def refused(self, parsed: dict[str, Any], **_: Any) -> None:
        """Event handler `after-call`: what AWS has refused is read anew for a later call."""
        if parsed.get("Error", {}).get("Code") in REFUSALS:
            self._is_stale = True


@contextmanager
def _no_fault_of_the_call() -> Iterator[None]:
    """Whatever is wrong with credentials, the call that needed them is not to blame."""
    try:
        with translated():
            yield
    except AwsError as error:
        is_passing = error.verdict in PASSING and not isinstance(error, UnreadableError)
        verdict = error.verdict if is_passing else Verdict.STOP_LANE
        raise AwsError(verdict, error.code, error.message, error.date) from None

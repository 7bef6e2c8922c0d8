"""Who calls: read from the credential scope of a SigV4 signature. The signature itself is not checked."""

from __future__ import annotations

import re

import msgspec

from worker.local.accounts import account_of_access_key
from worker.local.refusals import ServiceError

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")


class Caller(msgspec.Struct, frozen=True):
    """The account and region that a call is signed for: what quotas and jobs belong to."""

    account: str
    region: str

    @property
    def user_arn(self) -> str:
        """The one user of every account here."""
        return f"arn:aws:iam::{self.account}:user/modworker"


def caller_of(authorization: str | None) -> Caller:
    """Read the `Authorization` header.

    Raises:
        ServiceError: the call is not signed.

    """
    if not authorization:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    scope = _CREDENTIAL.search(authorization)
    if scope is None:
        raise ServiceError("IncompleteSignatureException", "Authorization header requires a Credential scope.", 403)
    access_key_id, region, _service = scope.groups()
    return Caller(account=account_of_access_key(access_key_id), region=region)

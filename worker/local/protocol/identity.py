"""Who calls: read from the credential scope of a SigV4 signature. The signature itself is not checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from worker.local.accounts import account_of_access_key
from worker.local.protocol.refusals import ServiceError

_SCOPE = r"([^/,\s]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request"
_SIGNED_HEADER = re.compile(f"Credential={_SCOPE}")
_SIGNED_QUERY = re.compile(_SCOPE)


class Caller(msgspec.Struct, frozen=True):
    """The account and region that a call is signed for: what quotas and jobs belong to."""

    account: str
    region: str

    @property
    def user_arn(self) -> str:
        """The one user of every account here."""
        return f"arn:aws:iam::{self.account}:user/modworker"


NOBODY = Caller(account="", region="")
"""Who sent a request that is not signed."""


def caller_of(headers: Mapping[str, str], query: Mapping[str, str]) -> Caller:
    """Read the `Authorization` header, or the query of a presigned URL.

    Raises:
        ServiceError: the request is not signed.

    """
    if (credential := query.get("X-Amz-Credential")) is not None:
        scope = _SIGNED_QUERY.fullmatch(credential)
    elif authorization := headers.get("Authorization"):
        scope = _SIGNED_HEADER.search(authorization)
    else:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    if scope is None:
        raise ServiceError("IncompleteSignatureException", "Authorization header requires a Credential scope.", 403)
    access_key_id, region, _service = scope.groups()
    return Caller(account=account_of_access_key(access_key_id), region=region)

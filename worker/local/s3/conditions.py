"""Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from aiohttp import hdrs

from worker.local.s3.refusals import S3Error
from worker.local.storage.objects import StoredObject


def is_known_to_caller(headers: Mapping[str, str], found: StoredObject) -> bool:
    """Whether the answer is 304 Not Modified.

    Raises:
        S3Error: the caller wants the object only in a state that is another than its own.

    """
    if (failed := _failed_condition(headers, found)) is not None:
        message = "At least one of the pre-conditions you specified did not hold"
        raise S3Error("PreconditionFailed", message, 412, {"Condition": failed})
    if (unwanted := headers.get(hdrs.IF_NONE_MATCH)) is not None:
        return _names(unwanted, found)
    since = _seconds(headers.get(hdrs.IF_MODIFIED_SINCE))
    return since is not None and _modified_at(found) <= since


def is_range_wanted(headers: Mapping[str, str], found: StoredObject) -> bool:
    """False where the range was asked for another state of the object: then it is sent whole."""
    state = headers.get(hdrs.IF_RANGE)
    return state is None or _names(state, found) or _seconds(state) == _modified_at(found)


def _failed_condition(headers: Mapping[str, str], found: StoredObject) -> str | None:
    if (wanted := headers.get(hdrs.IF_MATCH)) is not None:
        return None if _names(wanted, found) else "If-Match"
    since = _seconds(headers.get(hdrs.IF_UNMODIFIED_SINCE))
    return "If-Unmodified-Since" if since is not None and _modified_at(found) > since else None


def _names(etags: str, found: StoredObject) -> bool:
    """Whether a list of ETags names the object's; S3 takes them without quotes too."""
    named = {etag.strip().removeprefix("W/").strip('"') for etag in etags.split(",")}
    return "*" in named or found.etag in named


def _modified_at(found: StoredObject) -> int:
    """HTTP dates are in whole seconds."""
    return int(found.modified_at_seconds)


def _seconds(date: str | None) -> int | None:
    """An HTTP date, None for what is none."""
    try:
        parsed = None if date is None else parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return None if parsed is None else int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())

"""Batches of SQS: what makes one good, and how it tells which of its entries were."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from worker.local.protocol.refusals import ServiceError
from worker.local.sqs.refusals import bad_batch, of_entry

_LARGEST_BATCH = 10
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")

T = TypeVar("T")
Request = dict[str, Any]


def entries_of(request: Request) -> list[Request]:
    """The entries of a request.

    Raises:
        ServiceError: there are none or too many, or their ids are malformed or not distinct.

    """
    entries: list[Request] = request["Entries"]
    ids = [entry["Id"] for entry in entries]
    if not entries:
        raise bad_batch("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _LARGEST_BATCH:
        message = f"Maximum number of entries per request are {_LARGEST_BATCH}. You have sent {len(entries)}."
        raise bad_batch("TooManyEntriesInBatchRequest", message)
    if not all(_ENTRY_ID.fullmatch(entry_id) for entry_id in ids):
        message = (
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
            "It can be at most 80 letters long."
        )
        raise bad_batch("InvalidBatchEntryId", message)
    if repeated := next((entry_id for entry_id in ids if ids.count(entry_id) > 1), None):
        raise bad_batch("BatchEntryIdsNotDistinct", f"Id {repeated} repeated.")
    return entries


def sifted(
    entries: list[Request], understood: Callable[[Request], T]
) -> tuple[list[tuple[Request, T]], list[dict[str, Any]]]:
    """The good entries, each with what it is understood as, and the reports of the others."""
    good, failed = [], []
    for entry in entries:
        try:
            good.append((entry, understood(entry)))
        except ServiceError as error:
            failed.append(of_entry(entry["Id"], error))
    return good, failed


def batch_answer(successful: list[dict[str, Any]], failed: list[dict[str, Any]]) -> bytes:
    """The answer to a batch."""
    return msgspec.json.encode({"Successful": successful, "Failed": failed})

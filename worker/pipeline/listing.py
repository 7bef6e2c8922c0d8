"""Lists a prefix with patience: one answer that is lost does not cost a listing of millions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import stamina

from worker.aws.objects import Listed, Objects
from worker.errors import PASSING, AwsError
from worker.model import Object

TRIES = 8  # of one page, over some ten seconds
FIRST_PAUSE_SECONDS = 0.1

patiently = stamina.retry(
    on=lambda error: isinstance(error, AwsError) and error.verdict in PASSING,
    attempts=TRIES,
    timeout=None,
    wait_initial=FIRST_PAUSE_SECONDS,
)
"""Calls again what a lost answer, or too many calls, made fail."""


async def listing(objects: Objects, bucket: str, prefix: str) -> AsyncIterator[Object]:
    """Every object below a prefix, page by page.

    Raises:
        AwsError: of a page that could not be had.

    """
    token = None
    while True:
        page = await _page(objects, bucket, prefix, token)
        for named in page.objects:
            yield named
        if page.next is None:
            return
        token = page.next


@patiently
async def _page(objects: Objects, bucket: str, prefix: str, token: str | None) -> Listed:
    return await objects.page(bucket, prefix, token)

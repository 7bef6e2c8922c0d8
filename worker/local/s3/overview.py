"""ListBuckets: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.local.protocol import xml
from worker.local.protocol.identity import Caller
from worker.local.s3.listing import NAMESPACE, owner_of, whole_number
from worker.local.s3.refusals import invalid_argument
from worker.local.s3.tokens import position_of, token_of

_LARGEST_PAGE = 10_000
_CREATED_AT = "2024-01-01T00:00:00.000Z"  # nothing remembers when a folder was published


def buckets_document(caller: Caller, names: Iterable[str], query: Mapping[str, str]) -> bytes:
    """A page of the buckets, all of which are there in the caller's region."""
    most = whole_number(query, "max-buckets", _LARGEST_PAGE)
    if not 1 <= most <= _LARGEST_PAGE:
        message = f"Argument max-buckets must be an integer between 1 and {_LARGEST_PAGE}"
        raise invalid_argument(message, "max-buckets", query["max-buckets"])
    prefix, token = query.get("prefix", ""), query.get("continuation-token")
    start = "" if token is None else position_of(token)
    region = query.get("bucket-region", caller.region)
    shown = sorted(name for name in names if name.startswith(prefix) and name >= start and region == caller.region)
    nodes: list[tuple[str, xml.Node]] = [
        ("Owner", owner_of(caller)),
        ("Buckets", [("Bucket", _described(name, caller)) for name in shown[:most]]),
    ]
    if len(shown) > most:
        nodes.append(("ContinuationToken", token_of(shown[most])))
    if prefix:
        nodes.append(("Prefix", prefix))
    return xml.document("ListAllMyBucketsResult", nodes, NAMESPACE)


def _described(name: str, caller: Caller) -> list[tuple[str, xml.Node]]:
    return [("Name", name), ("CreationDate", _CREATED_AT), ("BucketRegion", caller.region)]

"""ListObjectsV2 and ListObjectVersions.

References: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
and https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from worker.local.protocol import xml
from worker.local.protocol.identity import Caller
from worker.local.s3.refusals import invalid_argument
from worker.local.s3.tokens import position_of, token_of
from worker.local.s3.walking import (
    CommonPrefix,
    Entry,
    Page,
    behind,
    behind_key,
    behind_prefix,
    common_prefix,
    first_page,
    walk,
)
from worker.local.storage.objects import Bucket, StoredObject

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_LARGEST_PAGE = 1000
_LARGEST_INTEGER = 2**31 - 1

_Nodes = list[tuple[str, xml.Node]]


class _Wanted(msgspec.Struct, frozen=True):
    """What requests for both kinds of listing say."""

    bucket: str
    prefix: str
    delimiter: str
    most: int
    url_encoded: bool

    def encoded(self, text: str) -> str:
        return quote(text, safe="/") if self.url_encoded else text


def objects_document(caller: Caller, name: str, bucket: Bucket, query: Mapping[str, str]) -> bytes:
    """A page of ListObjectsV2; call it in a worker thread."""
    wanted = _wanted(name, query)
    token, start_after = query.get("continuation-token"), query.get("start-after", "")
    start: str | None = behind_key(start_after) if start_after else ""
    if token is not None:
        start = position_of(token)
    page = first_page(walk(bucket.listed, wanted.prefix, wanted.delimiter, start), wanted.most)
    nodes: _Nodes = [
        ("Name", name),
        ("Prefix", wanted.encoded(wanted.prefix)),
        ("KeyCount", str(len(page.entries))),
        *_stated(wanted, page),
    ]
    if start_after:
        nodes.append(("StartAfter", wanted.encoded(start_after)))
    if token is not None:
        nodes.append(("ContinuationToken", token))
    if page.is_truncated and (following := behind(page.entries[-1])) is not None:
        nodes.append(("NextContinuationToken", token_of(following)))
    owner = [("Owner", owner_of(caller))] if query.get("fetch-owner") == "true" else []
    for item in _objects(page):
        nodes.append(("Contents", [*_described(item, wanted), *owner]))
    return xml.document("ListBucketResult", nodes + _common_prefixes(page, wanted), NAMESPACE)


def versions_document(caller: Caller, name: str, bucket: Bucket, query: Mapping[str, str]) -> bytes:
    """A page of ListObjectVersions; call it in a worker thread."""
    wanted = _wanted(name, query)
    key_marker, version_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
    if version_marker and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise invalid_argument(message, "version-id-marker", version_marker)
    page = first_page(_versions(bucket, wanted, key_marker, version_marker), wanted.most)
    nodes: _Nodes = [
        ("Name", name),
        ("Prefix", wanted.encoded(wanted.prefix)),
        ("KeyMarker", wanted.encoded(key_marker)),
        ("VersionIdMarker", version_marker),
        *_stated(wanted, page),
    ]
    if page.is_truncated:
        nodes += _next_markers(page.entries[-1], wanted)
    for item in _objects(page):
        version = [("VersionId", _version_id(item)), ("IsLatest", "true" if item.is_latest else "false")]
        nodes.append(("Version", [*_described(item, wanted), *version, ("Owner", owner_of(caller))]))
    return xml.document("ListVersionsResult", nodes + _common_prefixes(page, wanted), NAMESPACE)


def owner_of(caller: Caller) -> _Nodes:
    """The canonical user of the account, which owns whatever it sees."""
    return [("ID", hashlib.sha256(caller.account.encode()).hexdigest())]


def whole_number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """A parameter that is a number, not below 0."""
    value = query.get(name)
    if value is None or value == "":
        return otherwise
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= _LARGEST_INTEGER):
        raise invalid_argument(f"Provided {name} not an integer or within integer range", name, value)
    return int(value)


def _wanted(bucket: str, query: Mapping[str, str]) -> _Wanted:
    encoding = query.get("encoding-type", "")
    if encoding not in {"", "url"}:
        raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
    return _Wanted(
        bucket=bucket,
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        most=min(_LARGEST_PAGE, whole_number(query, "max-keys", _LARGEST_PAGE)),
        url_encoded=encoding == "url",
    )


def _versions(bucket: Bucket, wanted: _Wanted, key_marker: str, version_marker: str) -> Iterator[Entry]:
    """Entries behind the markers. A key marker that is a common prefix stands for all of its keys."""
    start: str | None = behind_key(key_marker) if key_marker else ""
    if version_marker:
        start = key_marker
    elif key_marker and common_prefix(key_marker, wanted.prefix, wanted.delimiter) == key_marker:
        start = behind_prefix(key_marker)

    def listed(prefix: str, start: str) -> Iterator[StoredObject]:
        return _behind_version(bucket.listed_versions(prefix, start), key_marker, version_marker)

    return walk(listed, wanted.prefix, wanted.delimiter, start)


def _behind_version(versions: Iterator[StoredObject], key: str, version_id: str) -> Iterator[StoredObject]:
    """Without the key's versions down to the named one."""
    is_reached = False
    for item in versions:
        if item.key != key or is_reached:
            yield item
        else:
            is_reached = _version_id(item) == version_id


def _stated(wanted: _Wanted, page: Page) -> _Nodes:
    nodes: _Nodes = [("MaxKeys", str(wanted.most)), ("IsTruncated", "true" if page.is_truncated else "false")]
    if wanted.delimiter:
        nodes.append(("Delimiter", wanted.encoded(wanted.delimiter)))
    if wanted.url_encoded:
        nodes.append(("EncodingType", "url"))
    return nodes


def _next_markers(last: Entry, wanted: _Wanted) -> _Nodes:
    if isinstance(last, CommonPrefix):
        return [("NextKeyMarker", wanted.encoded(last.text))]
    return [("NextKeyMarker", wanted.encoded(last.key)), ("NextVersionIdMarker", _version_id(last))]


def _objects(page: Page) -> Iterator[StoredObject]:
    return (entry for entry in page.entries if isinstance(entry, StoredObject))


def _common_prefixes(page: Page, wanted: _Wanted) -> _Nodes:
    groups = (entry.text for entry in page.entries if isinstance(entry, CommonPrefix))
    return [("CommonPrefixes", [("Prefix", wanted.encoded(text))]) for text in groups]


def _described(item: StoredObject, wanted: _Wanted) -> _Nodes:
    modified_at = datetime.fromtimestamp(int(item.modified_at_seconds), UTC)
    return [
        ("Key", wanted.encoded(item.key)),
        ("LastModified", modified_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")),
        ("ETag", f'"{item.etag}"'),
        ("Size", str(item.size_bytes)),
        ("StorageClass", item.storage_class),
    ]


def _version_id(item: StoredObject) -> str:
    return item.version_id or "null"

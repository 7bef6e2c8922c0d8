"""What arrived in a bucket, as S3's event notifications tell: straight from S3, through SNS, or through EventBridge."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_plus

from msgspec import Raw, Struct, field, json

from worker.aws.manifests import impossible
from worker.aws.objects import NO_VERSION
from worker.model import Object

_S3_SOURCE = "aws:s3"
_TEST = "s3:TestEvent"
_CREATED = "ObjectCreated:"  # by a Put, a Post, a Copy or a CompleteMultipartUpload
_CREATED_AT_EVENTBRIDGE = ("aws.s3", "Object Created")


class Told(Struct, frozen=True):
    """The objects that a message tells of, what is wrong with it, if anything is, and whether it is S3's at all."""

    objects: list[Object]
    fault: str | None = None
    is_foreign: bool = False


class _Named(Struct, frozen=True):
    name: str


class _Item(Struct, frozen=True):
    """The names of members are S3's and EventBridge's."""

    key: str
    size: int | None = None
    etag: str | None = None
    etag_by_s3: str | None = field(default=None, name="eTag")
    version: str | None = field(default=None, name="version-id")
    version_by_s3: str | None = field(default=None, name="versionId")


class _Place(Struct, frozen=True):
    bucket: _Named
    object: _Item


class _Record(Struct, frozen=True):
    """Only S3's own are looked into."""

    source: str = field(default="", name="eventSource")
    event: str = field(default="", name="eventName")
    s3: Raw = Raw(b"null")


class _Body(Struct, frozen=True):
    type: str = field(default="", name="Type")
    message: str | None = field(default=None, name="Message")
    event: str = field(default="", name="Event")
    records: list[_Record] = field(default_factory=list, name="Records")
    source: str = ""
    detail_type: str = field(default="", name="detail-type")
    detail: Raw = Raw(b"null")


_decode = json.Decoder(_Body).decode
_place = json.Decoder(_Place).decode


def read_arrivals(text: str) -> Told:
    """Tell what a message's text is about; what tells of nothing new, such as S3's test event, names no object.

    What is JSON and not S3's is somebody else's.

    An envelope of SNS is opened once, and nothing that a message points to is ever fetched.
    """
    objects: list[Object] = []
    fault = None
    try:
        body = _decode(text)
        if body.type == "Notification" and body.message is not None:
            body = _decode(body.message)
        if not _is_of_s3(body):
            return Told([], is_foreign=True)
        for named in _created(body):
            if reason := impossible(named):
                fault = reason
            else:
                objects.append(named)
    except (ValueError, RecursionError) as error:  # also of text that is not Unicode
        fault = str(error)
    return Told(objects, fault)


def _is_of_s3(body: _Body) -> bool:
    by_s3 = any(record.source == _S3_SOURCE for record in body.records)
    return by_s3 or body.event == _TEST or body.source == _CREATED_AT_EVENTBRIDGE[0]


def _created(body: _Body) -> Iterator[Object]:
    """Markers of folders are left out, as in listings."""
    for record in body.records:
        if record.source == _S3_SOURCE and record.event.removeprefix("s3:").startswith(_CREATED):
            place = _place(record.s3)
            yield from _unless_folder(place, unquote_plus(place.object.key, errors="strict"))
    if (body.source, body.detail_type) == _CREATED_AT_EVENTBRIDGE:
        place = _place(body.detail)
        yield from _unless_folder(place, place.object.key)


def _unless_folder(place: _Place, key: str) -> Iterator[Object]:
    found = place.object
    version = found.version_by_s3 or found.version
    if not key.endswith("/"):
        yield Object(
            bucket=place.bucket.name,
            key=key,
            version_id=None if version in (None, "", NO_VERSION) else version,
            etag=(found.etag_by_s3 or found.etag or "").strip('"') or None,
            size_bytes=found.size,
        )

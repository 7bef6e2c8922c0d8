"""HeadObject and GetObject: ranges, conditions, bytes that are made up and files that change."""

from __future__ import annotations

import http.client
import os
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.local.conftest import Service
from tests.local.raw_requests import SIGNED, connected, exchange

ARCHIVE = "synthetic-archive"
CONTENT = bytes(range(256)) * 1200  # more than one chunk
BIG_FILE_BYTES = 2**28


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    return service.client("s3")


@pytest.fixture(scope="module")
def key(s3: Any) -> str:
    """An object of the archive, of some megabytes."""
    items = s3.list_objects_v2(Bucket=ARCHIVE, MaxKeys=100)["Contents"]
    return min(items, key=lambda item: item["Size"])["Key"]


@pytest.fixture
def bucket(service: Service, tmp_path: Path) -> str:
    (tmp_path / "video.mp4").write_bytes(CONTENT)
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.utime(tmp_path / "video.mp4", (1_700_000_000, 1_700_000_000))
    return service.publish(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 5),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=0-99999999999", 0, None),
        ("bytes=-99999999999", 0, None),
        ("bytes=65535-65536", 65535, 65537),
        ("bytes=100000-300000", 100_000, 300_001),
    ],
)
def test_a_range_gives_its_part(s3: Any, bucket: str, key: str, wanted: str, first: int, end: int | None) -> None:
    """A range is answered 206 with its bytes and place, of files and of made-up objects, by HEAD as well."""
    for where, name in ((bucket, "video.mp4"), (ARCHIVE, key)):
        whole = s3.get_object(Bucket=where, Key=name)["Body"].read()
        part = s3.get_object(Bucket=where, Key=name, Range=wanted)
        content = part["Body"].read()
        first_byte = first % len(whole)
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert content == whole[first:end]
        assert part["ContentRange"] == f"bytes {first_byte}-{first_byte + len(content) - 1}/{len(whole)}"
        head = s3.head_object(Bucket=where, Key=name, Range=wanted)
        assert (head["ContentLength"], head["AcceptRanges"]) == (len(content), "bytes")


@pytest.mark.parametrize("ignored", ["bytes=5-2", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "items=0-1"])
def test_other_ranges_are_ignored(s3: Any, bucket: str, ignored: str) -> None:
    """Several ranges and nonsense give the whole object."""
    answer = s3.get_object(Bucket=bucket, Key="video.mp4", Range=ignored)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["Body"].read() == CONTENT


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("video.mp4", f"bytes={len(CONTENT)}-"),
        ("video.mp4", "bytes=-0"),
        ("empty.mp4", "bytes=0-"),
        ("empty.mp4", "bytes=-1"),
    ],
)
def test_a_range_without_bytes_is_refused(s3: Any, bucket: str, name: str, wanted: str) -> None:
    """A range behind the end is answered 416 InvalidRange."""
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key=name, Range=wanted)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416
    assert error.value.response["Error"]["Code"] == "InvalidRange"


EARLIER, SAME, LATER = "Sat, 01 Jan 2000 00:00:00 GMT", "Last-Modified", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": "ETag"}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other", ETag'}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-None-Match": "ETag"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": "W/ETag"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": EARLIER}, 200),
        ({"If-Modified-Since": SAME}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": SAME}, 200),
        ({"If-Unmodified-Since": LATER}, 200),
        ({"If-Match": "ETag", "If-Unmodified-Since": EARLIER}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": LATER}, 200),
        ({"If-Match": '"other"', "If-None-Match": "ETag"}, 412),
        ({"Range": "bytes=0-1", "If-Range": "ETag"}, 206),
        ({"Range": "bytes=0-1", "If-Range": SAME}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=0-1", "If-Match": '"other"'}, 412),
    ],
)
def test_conditions_decide(service: Service, bucket: str, key: str, headers: dict[str, str], status: int) -> None:
    """Conditions are answered 200, 304 or 412 in the order that RFC 9110 sets, of both kinds, by GET and HEAD."""
    for path in (f"/{bucket}/video.mp4", f"/{ARCHIVE}/{urllib.parse.quote(key)}"):
        known = exchange(service, "HEAD", path)[1]
        sent = {
            name: known[SAME] if value == SAME else value.replace("ETag", known["ETag"])
            for name, value in headers.items()
        }
        for method in ("HEAD", "GET"):
            answered, told, content = exchange(service, method, path, **sent)
            assert answered == status, method
            assert (content != b"") is (method == "GET" and status != 304)
            if status == 304:
                assert (told["ETag"], told["Last-Modified"]) == (known["ETag"], known["Last-Modified"])


def test_made_up_bytes_are_always_the_same(s3: Any, new_service: Any, key: str) -> None:
    """Another service of the same seed makes up the same bytes, as many as the listing says; another seed others."""
    first = s3.get_object(Bucket=ARCHIVE, Key=key)
    content = first["Body"].read()
    again = new_service(videos=2_345).start().client("s3").get_object(Bucket=ARCHIVE, Key=key)
    assert again["Body"].read() == content
    assert (
        len(content) == first["ContentLength"] == s3.list_objects_v2(Bucket=ARCHIVE, Prefix=key)["Contents"][0]["Size"]
    )
    assert len(set(content[:4096])) > 200
    assert first["ETag"].strip('"').rpartition("-")[2].isdigit()


def test_objects_are_downloaded_in_parts(s3: Any, bucket: str, key: str, tmp_path: Path) -> None:
    """The transfer manager, which fetches ranges side by side, gets what one GET gets."""
    in_parts = TransferConfig(multipart_threshold=2**16, multipart_chunksize=2**18 + 1, max_concurrency=4)
    for where, name in ((bucket, "video.mp4"), (ARCHIVE, key)):
        s3.download_file(where, name, str(tmp_path / "downloaded"), Config=in_parts)
        assert (tmp_path / "downloaded").read_bytes() == s3.get_object(Bucket=where, Key=name)["Body"].read()


def test_large_objects_are_streamed(service: Service, s3: Any) -> None:
    """The service makes up no more than the client takes, and a far range costs what a near one costs."""
    where = {"Bucket": "synthetic-edge-cases", "Key": "over-10-gb.mp4"}
    body = s3.get_object(**where)["Body"]
    before_kib = resident_kib(service)
    for _ in range(32):
        assert len(body.read(2**20)) == 2**20
    assert resident_kib(service) - before_kib < 20_000
    body.close()
    assert len(s3.get_object(**where, Range="bytes=-5")["Body"].read()) == 5


def test_headers_can_be_asked_for(s3: Any, bucket: str) -> None:
    """The parameters response-… replace headers of the answer; line breaks in them are refused."""
    answer = s3.get_object(
        Bucket=bucket, Key="video.mp4", ResponseContentType="video/mp4", ResponseContentDisposition="attachment"
    )
    assert answer["Body"].read() == CONTENT
    assert (answer["ContentType"], answer["ContentDisposition"]) == ("video/mp4", "attachment")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="video.mp4", ResponseContentType="a\r\nb: c")
    assert error.value.response["Error"]["Code"] == "InvalidArgument"


def test_the_etag_changes_with_the_file(s3: Any, bucket: str, tmp_path: Path) -> None:
    """Other bytes at another time, or of another length, have another ETag; the same file keeps its own."""
    etags = [s3.head_object(Bucket=bucket, Key="video.mp4")["ETag"]]
    assert s3.head_object(Bucket=bucket, Key="video.mp4", IfMatch=etags[0])["ETag"] == etags[0]
    (tmp_path / "video.mp4").write_bytes(CONTENT[::-1])
    etags.append(s3.head_object(Bucket=bucket, Key="video.mp4")["ETag"])
    with (tmp_path / "video.mp4").open("ab") as file:
        file.write(b"more")
    etags.append(s3.head_object(Bucket=bucket, Key="video.mp4")["ETag"])
    assert len(set(etags)) == 3


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("happens", "is_whole"),
    [
        (Path.unlink, True),
        (lambda path: (path.parent / "empty.mp4").replace(path), True),
        (grow, False),
        (lambda path: os.truncate(path, BIG_FILE_BYTES // 2), False),
        (lambda path: os.utime(path, (1, 1)), False),
    ],
    ids=["deleted", "replaced", "grown", "cut", "touched"],
)
def test_a_file_that_changes_while_it_is_read(
    service: Service, bucket: str, tmp_path: Path, happens: Any, is_whole: bool
) -> None:
    """A file is read to its end although it is deleted; of a changed one no client takes a mixture for the whole."""
    path = tmp_path / "big.mp4"
    path.touch()
    os.truncate(path, BIG_FILE_BYTES)
    connection = connected(service)
    connection.request("GET", f"/{bucket}/big.mp4", headers=SIGNED)
    answer = connection.getresponse()
    answer.read(1000)
    happens(path)
    if is_whole:
        assert read_length(answer) == BIG_FILE_BYTES - 1000
    else:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            read_length(answer)
    answer.close()
    connection.close()


def read_length(answer: http.client.HTTPResponse) -> int:
    length = 0
    while answer.length:
        chunk = answer.read(min(answer.length, 2**20))
        length += len(chunk)
        if not chunk:
            raise http.client.IncompleteRead(b"")
    return length


def resident_kib(service: Service) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

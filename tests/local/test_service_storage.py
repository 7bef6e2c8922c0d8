"""S3 as the service shows it: the made-up archive and published folders."""

from __future__ import annotations

import http.client
import json
import os
import unicodedata
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import Service, archive_keys
from worker.local.analysts.synthetic import SyntheticAnalyst

ODD_NAMES = [
    "plain.mp4",
    "a/b.mp4",
    "a.mp4",
    "a/ü.mp4",
    "a-b/c.mp4",
    "a+b&c=d.mp4",
    "100% \"quoted\" 'x' <tag>.mp4",
    "emoji 🎬.mp4",
    "z\x01control.mp4",
    "deep/er/and/deeper.mp4",
    "\uffee before 🎬.mp4",
]


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def listed(service: Service, bucket: str, page_size: int = 1000, **how: Any) -> list[str]:
    paginator = service.client("s3").get_paginator("list_objects_v2")
    pages = paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": page_size}, **how)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


@pytest.fixture
def folder(service: Service, tmp_path: Path) -> tuple[Path, str]:
    root = tmp_path / "Überwachung Nord"
    for name in ODD_NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root, service.publish(root)


def test_the_archive_is_listed_in_pages_of_1000(service: Service) -> None:
    """2,345 videos make three pages, in the order of their UTF-8 bytes, none twice."""
    paginator = service.client("s3").get_paginator("list_objects_v2")
    pages = list(paginator.paginate(Bucket="synthetic-archive"))
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 345]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    assert keys == sorted(set(keys), key=str.encode)
    assert all(any(character in key for key in keys) for character in "Üé\"'&+🎬<>#%?=")


def test_the_archive_is_listed_by_prefix_and_start(service: Service) -> None:
    """A prefix and a start select exactly the keys that they select of the whole."""
    keys = archive_keys(service)
    for prefix in ("2024/01/camera-03/", keys[700], "2024/", "1", "9", "2024/01/camera-03/0005"):
        assert listed(service, "synthetic-archive", Prefix=prefix) == [key for key in keys if key.startswith(prefix)]
    for after in (keys[1499], keys[-1], "2024/01/camera-05", "0", "9"):
        assert listed(service, "synthetic-archive", StartAfter=after) == [key for key in keys if key > after]


def test_objects_of_the_archive_have_versions(service: Service) -> None:
    """HEAD agrees with the listing, gives a version, and finds the object by that version only."""
    s3 = service.client("s3")
    items = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=60)["Contents"]
    for item in items:
        head = s3.head_object(Bucket="synthetic-archive", Key=item["Key"])
        assert (head["ContentLength"], head["ETag"]) == (item["Size"], item["ETag"])
        assert head["LastModified"] == item["LastModified"]
        assert "StorageClass" not in head
        again = s3.head_object(Bucket="synthetic-archive", Key=item["Key"], VersionId=head["VersionId"])
        assert again["ETag"] == head["ETag"]
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket="synthetic-archive", Key=items[0]["Key"], VersionId="0" * 32)
    assert code_of(error) == "404"


def test_sizes_follow_durations(service: Service) -> None:
    """An object is as large as its video is long, at 1.2 to 5.2 Mbit/s."""
    analyst = SyntheticAnalyst(1)
    for item in service.client("s3").list_objects_v2(Bucket="synthetic-archive")["Contents"]:
        assert 150 <= item["Size"] / analyst.duration_ms_of("synthetic-archive", item["Key"]) < 650


def test_buckets_are_there_or_not(service: Service) -> None:
    """HeadBucket names the region that was asked in, and answers 404 for a bucket that is not there."""
    head = service.client("s3", region="eu-west-1").head_bucket(Bucket="synthetic-archive")
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"
    for call in (
        lambda s3: s3.head_bucket(Bucket="nothing"),
        lambda s3: s3.head_object(Bucket="synthetic-archive", Key="nothing"),
    ):
        with pytest.raises(ClientError) as error:
            call(service.client("s3"))
        assert code_of(error) == "404"
    with pytest.raises(ClientError) as error:
        service.client("s3").list_objects_v2(Bucket="nothing")
    assert code_of(error) == "NoSuchBucket"


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_folders_are_listed_as_s3_would(service: Service, folder: tuple[Path, str], page_size: int) -> None:
    """Every regular file is an object, in the order of the keys' bytes, whatever the size of a page."""
    _, bucket = folder
    assert listed(service, bucket, page_size) == sorted(ODD_NAMES, key=str.encode)
    for prefix in ("a", "a/", "deep/e", "emoji", "nothing/"):
        expected = sorted((name for name in ODD_NAMES if name.startswith(prefix)), key=str.encode)
        assert listed(service, bucket, page_size, Prefix=prefix) == expected


def test_files_are_read_whole_and_in_ranges(service: Service, folder: tuple[Path, str]) -> None:
    """GET and HEAD agree with the file and the listing; a range gives its part."""
    s3 = service.client("s3")
    _, bucket = folder
    sizes = {item["Key"]: (item["Size"], item["ETag"]) for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    for name in ODD_NAMES:
        whole = s3.get_object(Bucket=bucket, Key=name)
        head = s3.head_object(Bucket=bucket, Key=name)
        assert whole["Body"].read() == name.encode()
        assert (whole["ContentLength"], whole["ETag"]) == (head["ContentLength"], head["ETag"]) == sizes[name]
        assert "VersionId" not in head
        part = s3.get_object(Bucket=bucket, Key=name, Range="bytes=2-4")
        assert part["Body"].read() == name.encode()[2:5]
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_folder_keeps_its_bucket(service: Service, folder: tuple[Path, str], tmp_path: Path) -> None:
    """The same folder is the same bucket, another of the same name is another; both names are valid."""
    root, bucket = folder
    other = tmp_path / "elsewhere" / root.name
    other.mkdir(parents=True)
    assert service.publish(root) == bucket
    assert service.publish(other) != bucket
    assert unicodedata.is_normalized("NFC", bucket)
    assert bucket.replace("-", "").isalnum()
    assert bucket == bucket.lower()
    assert bucket.isascii()
    assert 3 <= len(bucket) <= 63


def test_published_folders_are_remembered(new_service: Any, tmp_path: Path) -> None:
    """A bucket made of a folder is there after a restart."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "x.mp4").write_bytes(b"x")
    service = new_service().start()
    bucket = service.publish(tmp_path / "videos")
    service.kill()
    service.start()
    assert listed(service, bucket) == ["x.mp4"]


def raw(service: Service, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """A request whose path is sent as it stands."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(service.url).netloc, timeout=10)
    scope = "AWS4-HMAC-SHA256 Credential=LOCAL123456789012/20260101/us-east-1/s3/aws4_request"
    connection.request(method, path, body=body, headers={"Authorization": scope})
    answer = connection.getresponse()
    status, content = answer.status, answer.read()
    connection.close()
    return status, content


def test_nothing_outside_a_folder_can_be_reached(service: Service, folder: tuple[Path, str], tmp_path: Path) -> None:
    """Neither links nor `..` nor empty or absolute parts lead out of a published folder, or are listed."""
    root, bucket = folder
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path, target_is_directory=True)
    (root / "inside").symlink_to(root / "a", target_is_directory=True)
    os.mkfifo(root / "pipe")
    paths = ["link.txt", "out/secret.txt", "../secret.txt", "%2e%2e/secret.txt", "a/../../secret.txt", "inside/b.mp4"]
    paths += [f"/{tmp_path}/secret.txt", f"%2F{tmp_path}/secret.txt", "a//b.mp4", "./plain.mp4", "pipe", "plain.mp4%00"]
    for path in paths:
        status, content = raw(service, "GET", f"/{bucket}/{path}")
        assert status == 404, path
        assert b"<Code>NoSuchKey</Code>" in content
    assert listed(service, bucket) == sorted(ODD_NAMES, key=str.encode)


@pytest.mark.parametrize("path", ["relative", "/no/such/folder", "", "/etc/passwd"])
def test_only_folders_can_be_published(service: Service, path: str) -> None:
    """What is not the absolute path of a folder is refused."""
    status, content = raw(service, "PUT", "/_folders", json.dumps({"path": path}).encode())
    assert status == 400
    assert json.loads(content)["__type"] == "InvalidArgument"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"path": 1}', b"\xff"])
def test_unreadable_requests_are_refused(service: Service, body: bytes) -> None:
    """A body that is not what is asked for is a refusal, never a fault."""
    status, _ = raw(service, "PUT", "/_folders", body)
    assert status == 400


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/synthetic-archive?list-type=2&max-keys=x", "InvalidArgument"),
        ("GET", "/synthetic-archive?list-type=2&continuation-token=%21", "InvalidArgument"),
        ("GET", "/synthetic-archive?list-type=2&delimiter=/", "NotImplemented"),
        ("PUT", "/synthetic-archive/key", "NotImplemented"),
        ("GET", "/nothing/key", "NoSuchBucket"),
    ],
)
def test_other_requests_are_refused_in_xml(service: Service, method: str, path: str, code: str) -> None:
    """What is not served, or wrong, is refused in S3's form."""
    _, content = raw(service, method, path)
    assert f"<Code>{code}</Code>".encode() in content

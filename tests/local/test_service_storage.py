"""S3 as the service shows it: the made-up archive and published folders."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import REGION, Service, archive_keys, finished, start
from tests.local.raw_requests import exchange
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


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    return service.client("s3")


def listed(s3: Any, bucket: str, page_size: int = 1000, **how: Any) -> list[str]:
    paginator = s3.get_paginator("list_objects_v2")
    pages = paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": page_size}, **how)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


@pytest.fixture
def folder(service: Service, tmp_path: Path) -> tuple[Path, str]:
    root = tmp_path / "Überwachung Nord"
    for name in ODD_NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root, service.publish(root)


def test_the_archive_is_listed_in_pages_of_1000(s3: Any) -> None:
    """2,345 videos make three pages, in the order of their UTF-8 bytes, none twice."""
    paginator = s3.get_paginator("list_objects_v2")
    pages = list(paginator.paginate(Bucket="synthetic-archive"))
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 345]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    assert keys == sorted(set(keys), key=str.encode)
    assert all(any(character in key for key in keys) for character in "Üé\"'&+🎬<>#%?=")


def test_the_archive_is_listed_by_prefix_and_start(service: Service, s3: Any) -> None:
    """A prefix and a start select exactly the keys that they select of the whole."""
    keys = archive_keys(service)
    for prefix in ("2024/01/camera-03/", keys[700], "2024/", "1", "9", "2024/01/camera-03/0005"):
        assert listed(s3, "synthetic-archive", Prefix=prefix) == [key for key in keys if key.startswith(prefix)]
    for after in (keys[1499], keys[-1], "2024/01/camera-05", "0", "9"):
        assert listed(s3, "synthetic-archive", StartAfter=after) == [key for key in keys if key > after]


def test_objects_of_the_archive_have_versions(s3: Any) -> None:
    """HEAD agrees with the listing, gives a version, and finds the object by that version only."""
    items = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=60)["Contents"]
    for item in items:
        head = s3.head_object(Bucket="synthetic-archive", Key=item["Key"])
        assert (head["ContentLength"], head["ETag"]) == (item["Size"], item["ETag"])
        assert head["LastModified"] == item["LastModified"]
        assert head.get("StorageClass", "STANDARD") == item["StorageClass"]
        again = s3.head_object(Bucket="synthetic-archive", Key=item["Key"], VersionId=head["VersionId"])
        assert again["ETag"] == head["ETag"]
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket="synthetic-archive", Key=items[0]["Key"], VersionId="0" * 32)
    assert code_of(error) == "404"


def test_sizes_follow_durations(s3: Any) -> None:
    """An object is as large as its video is long, at 1.2 to 5.2 Mbit/s."""
    analyst = SyntheticAnalyst(1)
    for item in s3.list_objects_v2(Bucket="synthetic-archive")["Contents"]:
        assert 150 <= item["Size"] / analyst.duration_ms_of("synthetic-archive", item["Key"]) < 650


def test_buckets_are_there_or_not(service: Service, s3: Any) -> None:
    """HeadBucket names the region that was asked in, and answers 404 for a bucket that is not there."""
    head = service.client("s3", region="eu-west-1").head_bucket(Bucket="synthetic-archive")
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"
    for call in (
        lambda: s3.head_bucket(Bucket="nothing"),
        lambda: s3.head_object(Bucket="synthetic-archive", Key="nothing"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == "404"
    with pytest.raises(ClientError) as error:
        s3.list_objects_v2(Bucket="nothing")
    assert code_of(error) == "NoSuchBucket"


def test_files_are_read_whole(s3: Any, folder: tuple[Path, str]) -> None:
    """GET and HEAD agree with the file and the listing."""
    _, bucket = folder
    sizes = {item["Key"]: (item["Size"], item["ETag"]) for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    for name in ODD_NAMES:
        whole = s3.get_object(Bucket=bucket, Key=name)
        head = s3.head_object(Bucket=bucket, Key=name)
        assert whole["Body"].read() == name.encode()
        assert (whole["ContentLength"], whole["ETag"]) == (head["ContentLength"], head["ETag"]) == sizes[name]
        assert "VersionId" not in head
        null = s3.head_object(Bucket=bucket, Key=name, VersionId="null")
        assert null["ETag"] == head["ETag"]


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
    assert listed(service.client("s3"), bucket) == ["x.mp4"]


def raw(service: Service, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    status, _, content = exchange(service, method, path, body)
    return status, content


def test_nothing_outside_a_folder_can_be_reached(
    service: Service, s3: Any, folder: tuple[Path, str], tmp_path: Path
) -> None:
    """Neither links nor `..` nor empty or absolute parts lead out of a published folder, or are listed."""
    root, bucket = folder
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path, target_is_directory=True)
    (root / "inside").symlink_to(root / "a", target_is_directory=True)
    os.mkfifo(root / "pipe")
    paths = ["link.txt", "out/secret.txt", "../secret.txt", "%2e%2e/secret.txt", "a/../../secret.txt", "inside/b.mp4"]
    paths += [f"/{tmp_path}/secret.txt", f"%2F{tmp_path}/secret.txt", "a//b.mp4", "./plain.mp4", "pipe", "plain.mp4%00"]
    paths += ["..%2Fsecret.txt", "a%2F..%2F..%2Fsecret.txt", "%2e%2e%2Fsecret.txt", "out%2Fsecret.txt", "a", "a/"]
    for path in paths:
        status, content = raw(service, "GET", f"/{bucket}/{path}")
        assert status == 404, path
        assert b"<Code>NoSuchKey</Code>" in content
    assert listed(s3, bucket) == sorted(ODD_NAMES, key=str.encode)


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
        ("GET", "/synthetic-archive?list-type=2&continuation-token=", "InvalidArgument"),
        ("GET", "/synthetic-archive?list-type=2&max-keys=-1", "InvalidArgument"),
        ("GET", "/synthetic-archive?list-type=2&max-keys=2147483648", "InvalidArgument"),
        ("GET", "/synthetic-archive?list-type=2&encoding-type=xml", "InvalidArgument"),
        ("GET", "/synthetic-archive?versions&version-id-marker=1", "InvalidArgument"),
        ("GET", "/?max-buckets=0", "InvalidArgument"),
        ("GET", "/synthetic-archive", "NotImplemented"),
        ("GET", "/synthetic-archive?acl", "NotImplemented"),
        ("GET", "/synthetic-archive/key?tagging", "NotImplemented"),
        ("DELETE", "/synthetic-archive/key", "NotImplemented"),
        ("PUT", "/synthetic-archive/key", "NotImplemented"),
        ("GET", "/nothing/key", "NoSuchBucket"),
        ("GET", "/synthetic-archive-nowhere/key", "NoSuchBucket"),
        ("GET", "/synthetic-archive/%FF", "InvalidURI"),
        ("GET", "/synthetic-archive/" + 1025 * "k", "KeyTooLongError"),
        ("GET", "/synthetic-archive/key", "NoSuchKey"),
        ("GET", "/synthetic-archive/key?versionId=1", "NoSuchVersion"),
        ("GET", "/synthetic-archive/key?versionId=", "InvalidArgument"),
    ],
)
def test_other_requests_are_refused_in_xml(service: Service, method: str, path: str, code: str) -> None:
    """What is not served, or wrong, is refused in S3's form."""
    _, content = raw(service, method, path)
    assert f"<Code>{code}</Code>".encode() in content


def test_names_that_are_no_keys_are_left_out(s3: Any, folder: tuple[Path, str]) -> None:
    """Files whose names are not UTF-8, and keys of more than 1024 bytes, are not there."""
    root, bucket = folder
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.mp4"))).write_bytes(b"x")
    deep = root.joinpath(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "video.mp4").write_bytes(b"x")
    (deep.parent.parent / "video.mp4").write_bytes(b"x")
    assert len(listed(s3, bucket, Prefix="d" * 200)) == 1
    assert len(listed(s3, bucket)) == len(ODD_NAMES) + 1


def test_buckets_are_listed(service: Service, s3: Any, folder: tuple[Path, str]) -> None:
    """ListBuckets names the made-up buckets and the published folders, in pages as well."""
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert {"synthetic-archive", "synthetic-edge-cases", folder[1]} <= set(names)
    pages = list(s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1}))
    assert [bucket["Name"] for page in pages for bucket in page["Buckets"]] == sorted(names)
    assert [bucket["Name"] for bucket in s3.list_buckets(Prefix="synthetic-e")["Buckets"]] == ["synthetic-edge-cases"]
    assert s3.list_buckets(BucketRegion="eu-west-1")["Buckets"] == []


@pytest.mark.parametrize(
    ("asked_in", "bucket", "location"),
    [
        ("us-east-1", "synthetic-archive", None),
        ("eu-west-1", "synthetic-archive", "eu-west-1"),
        ("us-east-1", "synthetic-archive-us-east-1", None),
        ("us-east-1", "synthetic-archive-ap-southeast-5", "ap-southeast-5"),
        ("eu-west-1", "synthetic-archive-us-gov-west-1", "us-gov-west-1"),
    ],
)
def test_the_location_is_told_everywhere(service: Service, asked_in: str, bucket: str, location: str | None) -> None:
    """GetBucketLocation tells the region of a bucket that has one, else the caller's; us-east-1 has no name."""
    told = service.client("s3", region=asked_in).get_bucket_location(Bucket=bucket)
    assert told["LocationConstraint"] == location


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "?list-type=2"), ("GET", "?versions"), ("GET", "/key"), ("HEAD", ""), ("HEAD", "/key")],
)
def test_a_bucket_of_another_region_redirects(service: Service, method: str, path: str) -> None:
    """Every request signed for another region is answered 301 with the bucket's region."""
    status, headers, content = exchange(service, method, f"/synthetic-archive-eu-west-1{path}")
    assert status == 301
    assert headers["x-amz-bucket-region"] == "eu-west-1"
    assert (b"<Code>PermanentRedirect</Code>" in content) is (method == "GET")


def read(client: Any, bucket: str, key: str) -> Any:
    answer = client.get_object(Bucket=bucket, Key=key, Range="bytes=0-9")
    assert len(answer["Body"].read()) == 10
    return answer


def test_boto3_follows_to_the_region(service: Service, s3: Any) -> None:
    """A client of another region finds the bucket's region by itself, and the same objects as in the archive."""
    bucket = "synthetic-archive-eu-west-1"
    archive = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=3)["Contents"]
    key = archive[0]["Key"]
    calls = (
        lambda client: client.head_bucket(Bucket=bucket),
        lambda client: client.head_object(Bucket=bucket, Key=key),
        lambda client: read(client, bucket, key),
        lambda client: client.list_object_versions(Bucket=bucket, MaxKeys=1),
        lambda client: client.list_objects_v2(Bucket=bucket, MaxKeys=3),
    )
    for call in calls:
        client = service.client("s3", region="us-west-2")
        assert call(client)["ResponseMetadata"]["HTTPStatusCode"] in (200, 206)
    assert client.list_objects_v2(Bucket=bucket, MaxKeys=3)["Contents"] == archive


def test_rekognition_reads_only_in_the_bucket_s_region(service: Service, s3: Any) -> None:
    """A job of a regional archive starts in its region only, and finds what is found in the archive."""
    key = s3.list_objects_v2(Bucket="synthetic-archive", MaxKeys=1)["Contents"][0]["Key"]
    video = {"S3Object": {"Bucket": f"synthetic-archive-{REGION}", "Name": key}}
    here, elsewhere = service.client("rekognition"), service.client("rekognition", region="eu-west-1")
    found = finished(here, here.start_content_moderation(Video=video)["JobId"])
    same = finished(here, start(here, key))
    for member in ("JobStatus", "ModerationLabels", "VideoMetadata"):
        assert found.get(member) == same.get(member)
    with pytest.raises(ClientError) as error:
        elsewhere.start_content_moderation(Video=video)
    assert code_of(error) == "InvalidS3ObjectException"

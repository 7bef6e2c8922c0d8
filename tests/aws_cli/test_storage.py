"""`aws s3` and `aws s3api`: listings, heads and contents of objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.aws_cli.program import Aws, Refusal
from tests.local.conftest import Service, archive_keys

ARCHIVE = ("--bucket", "synthetic-archive")
LIST = ("s3api", "list-objects-v2", *ARCHIVE)


@pytest.fixture(scope="module")
def keys(service: Service) -> list[str]:
    return archive_keys(service)


@pytest.fixture
def calls(service: Service) -> Callable[[str], int]:
    """How many calls of an operation the service has answered since the test began."""

    def answered() -> dict[str, dict[str, int]]:
        return service.get_json("/_ledger?summary=1")["calls"]

    before = answered()
    return lambda operation: answered()[operation]["ok"] - before.get(operation, {}).get("ok", 0)


def test_a_listing_follows_its_pages(aws: Aws, keys: list[str], calls: Callable[[str], int]) -> None:
    """`--page-size 100` fetches page after page and prints all keys of the prefix as one document."""
    prefix = "2024/01/camera-1"
    expected = [key for key in keys if key.startswith(prefix)]
    printed = aws.json(*LIST, "--prefix", prefix, "--page-size", "100")
    assert [item["Key"] for item in printed["Contents"]] == expected
    assert len(expected) > 500
    assert calls("ListObjectsV2") == -(-len(expected) // 100)


def test_a_listing_stops_and_goes_on(aws: Aws, keys: list[str]) -> None:
    """`--max-items` ends within a page and prints a token; `--starting-token` goes on exactly there."""
    cut = ("--prefix", "2024/01/camera-12", "--page-size", "60")
    expected = [key for key in keys if key.startswith(cut[1])]
    first = aws.json(*LIST, *cut, "--max-items", "100")
    rest = aws.json(*LIST, *cut, "--starting-token", first["NextToken"])
    assert [item["Key"] for item in first["Contents"]] == expected[:100]
    assert [item["Key"] for item in rest["Contents"]] == expected[100:] != []
    assert "NextToken" not in rest


def test_a_head_agrees_with_the_listing(aws: Aws, service: Service, keys: list[str]) -> None:
    """`head-object` of a key outside ASCII prints the size and tag of the listing, and a version."""
    key = next(key for key in keys if "Ü" in key)
    [listed] = service.client("s3").list_objects_v2(Bucket="synthetic-archive", Prefix=key)["Contents"]
    head = aws.json("s3api", "head-object", *ARCHIVE, "--key", key)
    assert (head["ContentLength"], head["ETag"]) == (listed["Size"], listed["ETag"])
    assert len(head["VersionId"]) == 32


def test_an_unknown_key_is_not_found(aws: Aws) -> None:
    """`head-object` of a key that is not there ends with 255 and S3's bare 404."""
    assert aws.refused("s3api", "head-object", *ARCHIVE, "--key", "nothing/here.mp4") == Refusal(
        255, "An error occurred (404) when calling the HeadObject operation: Not Found"
    )


def test_a_part_of_a_file_is_fetched(aws: Aws, service: Service, tmp_path: Path) -> None:
    """`get-object --range` writes the bytes asked for of a file in a published folder, and says which they are."""
    key, content = 'Tor 3/"ü" & 100% +.mp4', bytes(range(256)) * 8
    (tmp_path / "videos" / "Tor 3").mkdir(parents=True)
    (tmp_path / "videos" / key).write_bytes(content)
    bucket, fetched = service.publish(tmp_path / "videos"), tmp_path / "fetched"
    answer = aws.json(
        "s3api", "get-object", "--bucket", bucket, "--key", key, "--range", "bytes=100-1099", str(fetched)
    )
    assert fetched.read_bytes() == content[100:1100]
    assert answer["ContentLength"] == 1000
    assert answer["ContentRange"] == f"bytes 100-1099/{len(content)}"


def test_folders_are_listed_like_a_file_system(aws: Aws, keys: list[str]) -> None:
    """`aws s3 ls` prints the folders below a prefix, and the files of a folder with their dates and sizes."""
    folder = "2024/01/camera-12/"
    folders = aws.text("s3", "ls", "s3://synthetic-archive/2024/01/").splitlines()
    files = aws.text("s3", "ls", f"s3://synthetic-archive/{folder}").splitlines()
    below = sorted({key.split("/")[2] for key in keys})
    assert [line.strip() for line in folders] == [f"PRE {name}/" for name in below]
    assert [line.split(maxsplit=3)[3] for line in files] == [
        key.removeprefix(folder) for key in keys if key.startswith(folder)
    ]


def test_common_prefixes_count_as_items(aws: Aws, keys: list[str], calls: Callable[[str], int]) -> None:
    """`--delimiter /` prints each folder once, and a page holds as many folders as it may hold keys."""
    printed = aws.json(*LIST, "--prefix", "2024/01/", "--delimiter", "/", "--page-size", "5")
    folders = sorted({key.rpartition("/")[0] + "/" for key in keys})
    assert [item["Prefix"] for item in printed["CommonPrefixes"]] == folders
    assert "Contents" not in printed
    assert calls("ListObjectsV2") == -(-len(folders) // 5)


def test_a_large_file_is_fetched_in_parts(
    aws: Aws, service: Service, tmp_path: Path, calls: Callable[[str], int]
) -> None:
    """`aws s3 cp` fetches a file above its threshold of 8 MiB in parts, and joins them to the same file."""
    content = Random(1).randbytes(9 * 2**20)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "large.mp4").write_bytes(content)
    bucket, fetched = service.publish(tmp_path / "videos"), tmp_path / "fetched.mp4"
    aws.text("s3", "cp", "--no-progress", f"s3://{bucket}/large.mp4", str(fetched))
    assert fetched.read_bytes() == content
    assert (calls("HeadObject"), calls("GetObject")) == (1, 2)

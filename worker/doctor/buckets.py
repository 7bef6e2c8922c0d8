"""The buckets whose videos are to be moderated: where they are, and whether the lanes may read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from worker.aws.objects import NO_VERSION, Objects
from worker.doctor.examined import Examined, subject
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.errors import AwsError
from worker.model import Object
from worker.pipeline.refusals import ARCHIVED

MOST_EXAMPLES = 3  # of a bucket: some may be gone
_MISSING = frozenset({"404", "NoSuchBucket"})
_GONE = frozenset({"404", "NoSuchKey", "NoSuchVersion"})


class Bucket(Struct, frozen=True):
    """One that is to be read: examples of its objects, or the prefix below which some are listed."""

    name: str
    examples: Sequence[Object] = ()
    prefix: str | None = None


class BucketSeen(Struct, frozen=True):
    """A bucket as one lane sees it; `refusals` are of what the worker needs: permission -> AWS's error."""

    region: str | AwsError | None
    refusals: Mapping[str, AwsError] = {}
    example: Object | None = None  # that could be read


async def look(lane: Examined, bucket: Bucket) -> BucketSeen:
    """Ask where the bucket is, and if that is in the lane's region, whether an object can be read."""
    example = next(iter(bucket.examples), None)
    region = await lane.ask_as_worker("s3", lambda s3: Objects(s3).region_of(bucket.name, example))
    if isinstance(region, AwsError) or region not in (None, lane.config.region):
        return BucketSeen(region)
    examples = bucket.examples
    if bucket.prefix is not None:
        page = await lane.ask_as_worker("s3", lambda s3: Objects(s3).page(bucket.name, bucket.prefix or "", None))
        if isinstance(page, AwsError):
            return BucketSeen(region, {"s3:ListBucket": page})
        examples = page.objects
    return await _look_at_objects(lane, region, examples[:MOST_EXAMPLES])


async def _look_at_objects(lane: Examined, region: str | None, examples: Sequence[Object]) -> BucketSeen:
    """Read the first one that is there."""
    refusals: dict[str, AwsError] = {}
    for example in examples:
        head = await _head(lane, example)
        if not isinstance(head, AwsError):
            return BucketSeen(region, await _refusals_of(lane, example, head), example)
        if head.code not in _GONE:
            refusals["s3:GetObject"] = head
    return BucketSeen(region, refusals)


async def _head(lane: Examined, named: Object, **more: str) -> dict[str, Any] | AwsError:
    async def head(client: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await client.head_object(Bucket=named.bucket, Key=named.key, **more)
        return answer

    return await lane.ask("s3", head)


async def _refusals_of(lane: Examined, named: Object, head: Mapping[str, Any]) -> dict[str, AwsError]:
    """What else is refused of an object that HEAD has found: its version, and its first byte where a key guards it."""
    refusals = {}
    version = head.get("VersionId", NO_VERSION)
    if version != NO_VERSION:
        seen = await _head(lane, named, VersionId=version)
        if isinstance(seen, AwsError):
            refusals["s3:GetObjectVersion"] = seen
    is_guarded = str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
    if is_guarded and head.get("ContentLength") and head.get("StorageClass") not in ARCHIVED:
        byte = await lane.ask("s3", lambda client: _first_byte(client, named))
        if isinstance(byte, AwsError):
            refusals[f"kms:Decrypt with {head.get('SSEKMSKeyId')}"] = byte
    return refusals


async def _first_byte(client: Any, named: Object) -> None:
    answer = await client.get_object(Bucket=named.bucket, Key=named.key, Range="bytes=0-0")
    async with answer["Body"] as body:
        await body.read()


def judge(bucket: Bucket, seen: Mapping[str, BucketSeen], regions: Mapping[str, str]) -> Iterator[Finding]:
    """`seen` is what each lane saw that AWS has let in, `regions` are those of all configured lanes."""
    about = f"bucket {bucket.name}"
    told = [each.region for each in seen.values()]
    region = next((each for each in told if isinstance(each, str)), None)
    error = next((each for each in told if isinstance(each, AwsError)), None)
    near = {name: each for name, each in seen.items() if region in (None, regions[name])}
    if error and error.code in _MISSING:
        yield fault(about, "there is no such bucket", "check its name")
    elif error and region is None:
        yield fault(about, f"S3 does not tell where it is ({error})", "check the network, and the lanes' endpoints")
    elif region and region not in regions.values():
        said = f"it is in {region}, where no lane is configured"
        yield fault(about, said, f"add a lane for {region} to the config file")
    elif not near:
        yield not_checked(about, "no lane that could read it is let in by AWS")
    for name, each in near.items():
        if not isinstance(each.region, AwsError):
            yield from _of_lane(subject(name, about), bucket, each)


def _of_lane(about: str, bucket: Bucket, seen: BucketSeen) -> Iterator[Finding]:
    for permission, error in seen.refusals.items():
        yield fault(about, f"{permission} is refused ({error})", _mend(permission))
    if seen.example is None and not seen.refusals:
        where = "" if bucket.prefix is None else f" below {bucket.prefix!r}"
        yield not_checked(about, f"there is no object to look at{where}")
    elif seen.example and not seen.refusals:
        yield fine(about, f"objects such as {seen.example.key} can be read")


def _mend(permission: str) -> str:
    if permission == "s3:ListBucket":
        return "allow it on the bucket (deploy/aws/worker-policy-listing.json), or name a manifest"
    if permission.startswith("kms:"):
        return "allow it on the key (deploy/aws/worker-policy-kms.json), and let the key's policy name the role"
    return "allow it on the bucket's objects (deploy/aws/worker-policy.json)"

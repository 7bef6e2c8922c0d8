"""Reads an S3 Inventory: its manifest, then its data files one by one, each from a copy that is compared with it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from anyio.lowlevel import checkpoint
from msgspec import Struct

from worker.aws.inventories import (
    LARGEST_MANIFEST_BYTES,
    DataFile,
    InventoryManifest,
    decode_manifest,
    objects_in,
    reader_of,
)
from worker.aws.manifests import BadRow
from worker.aws.objects import Objects
from worker.errors import AwsError, UsageError, Verdict
from worker.model import Object
from worker.pipeline.listing import patiently

ROWS_AT_ONCE = 200  # then others have a turn


class Inventory(Struct, frozen=True):
    """Where the manifest.json of an inventory is; `text` is what the operator wrote."""

    text: str
    bucket: str
    key: str


async def manifest_of(source: Inventory, objects: Objects) -> InventoryManifest:
    """What the manifest says; its data files are all there, as large as it says.

    Raises:
        UsageError: if there is no such manifest, or it cannot be read, or one of its files cannot.

    """
    try:
        content = await _content(objects, source)
    except AwsError as error:
        raise _refusal(source.text, error, "name the manifest.json of an inventory") from None
    manifest = decode_manifest(content, source.text)
    reader_of(manifest)
    for file in manifest.files:
        await _refuse_missing(objects, source, file)
    return manifest


async def inventoried(source: Inventory, objects: Objects) -> AsyncGenerator[Object | BadRow, None]:
    """The objects that an inventory names, in its order.

    Raises:
        UsageError: if it cannot be read; what came before was as the manifest says.

    """
    manifest = await manifest_of(source, objects)
    with tempfile.TemporaryDirectory(prefix="modworker-") as folder:
        path = Path(folder) / "data"
        for file in manifest.files:
            try:
                await _fetch(objects, source, file, path)
            except AwsError as error:
                raise _refusal(_name(source, file), error, "give the command again") from None
            for number, row in enumerate(objects_in(path, manifest, _name(source, file))):
                if number % ROWS_AT_ONCE == 0:
                    await checkpoint()
                yield row


@patiently
async def _content(objects: Objects, source: Inventory) -> bytes:
    content = bytearray()
    async with aclosing(objects.content(source.bucket, source.key)) as blocks:
        async for block in blocks:
            content += block
            if len(content) > LARGEST_MANIFEST_BYTES:
                raise UsageError(f"{source.text} is larger than any manifest of S3 Inventory; name its manifest.json")
    return bytes(content)


async def _refuse_missing(objects: Objects, source: Inventory, file: DataFile) -> None:
    name = _name(source, file)
    try:
        found = await patiently(objects.head)(Object(source.bucket, file.key))
    except AwsError as error:
        raise _refusal(name, error, f"the inventory {source.text} is not all there any more") from None
    if found.size_bytes != file.size_bytes:
        raise UsageError(f"{name} has {found.size_bytes:,} bytes, the manifest says {file.size_bytes:,}")


@patiently
async def _fetch(objects: Objects, source: Inventory, file: DataFile, path: Path) -> None:
    """Copy a data file.

    Raises:
        AwsError: if it cannot be had.
        UsageError: if it is not what the manifest says.

    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as copy:
        async with aclosing(objects.content(source.bucket, file.key)) as blocks:
            async for block in blocks:
                digest.update(block)
                copy.write(block)
        size_bytes = copy.tell()
    if size_bytes != file.size_bytes or file.md5.lower() not in ("", digest.hexdigest()):
        raise UsageError(f"{_name(source, file)} is not the file that the manifest tells the size and MD5 of")


def _name(source: Inventory, file: DataFile) -> str:
    return f"s3://{source.bucket}/{file.key}"


def _refusal(name: str, error: AwsError, advice: str) -> UsageError:
    if error.verdict is Verdict.STOP_LANE:
        advice = "allow the lane s3:GetObject on it"
    return UsageError(f"{name} cannot be read ({error}); {advice}")

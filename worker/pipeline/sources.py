"""What an operator may name as a source: a prefix in S3, a manifest, an inventory, or a folder of the local service."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from anyio.lowlevel import checkpoint
from msgspec import Struct

from worker.aws.manifests import BadRow, impossible, read_manifest
from worker.aws.objects import Objects
from worker.errors import AwsError, UsageError, Verdict
from worker.model import Object
from worker.pipeline.filters import EVERYTHING, SIZE, Choice
from worker.pipeline.inventory import ROWS_AT_ONCE, Inventory, inventoried
from worker.pipeline.listing import listing

_PREFIX = re.compile(r"s3://(?P<bucket>[0-9A-Za-z._-]{3,255})(?:/(?P<prefix>.*))?", re.DOTALL)


_LONGEST_NAME = 100


class Prefix(Struct, frozen=True):
    """Every object of a bucket below a prefix; `text` is what the operator wrote."""

    text: str
    bucket: str
    prefix: str


class Manifest(Struct, frozen=True):
    """A file that names objects, as it was when it was first looked at; `text` is what the operator wrote."""

    text: str
    path: Path
    mark: tuple[int, ...]  # device, inode, bytes, time of the last change


class Survey(Struct, frozen=True):
    """What a manifest names, and is meant, before anything of it is registered."""

    examples: dict[str, Object]  # one of each bucket
    first_bad_row: BadRow | None
    leaves_out: bool  # something that is not meant


Source = Prefix | Manifest | Inventory


def parse_source(text: str) -> Source | Path:
    """Tell a source from its text; a folder comes back as its path, since only the local service can serve it.

    Raises:
        UsageError: if it is none.

    """
    if not text:
        raise UsageError(
            "a source is empty; write s3://bucket/prefix, a manifest (.csv, .jsonl), inventory:s3://…, a folder, or -"
        )
    if text.startswith("inventory:"):
        return _inventory(text)
    if match := _PREFIX.fullmatch(text):
        return Prefix(text, match["bucket"], match["prefix"] or "")
    if "://" in text:
        raise UsageError(f"{text}: a source is s3://bucket/prefix, a manifest (.csv, .jsonl), a folder, or -")
    path = Path(text)
    return path if stat.S_ISDIR(_stat(text, path).st_mode) else manifest_of(text, path)


def _inventory(text: str) -> Inventory:
    match = _PREFIX.fullmatch(text.removeprefix("inventory:"))
    if not match or not (match["prefix"] or "").endswith(".json"):
        raise UsageError(f"{text}: an inventory is named by its manifest: inventory:s3://bucket/…/manifest.json")
    return Inventory(text, match["bucket"], match["prefix"])


def manifest_of(text: str, path: Path) -> Manifest:
    """A file as it is now; it is read twice, so that nothing is registered of one that names a wrong bucket.

    Raises:
        UsageError: if there is none, or it is a pipe or a device, which cannot be read twice.

    """
    found = _stat(text, path)
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{text} is no regular file; write its lines into one, or give them as JSON Lines to `-`")
    return Manifest(text, path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def _stat(text: str, path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        advice = "name a manifest (.csv, .jsonl), a folder or s3://…"
        raise UsageError(f"{text}: there is no such file or folder; {advice}") from None
    except OSError as error:
        raise UsageError(f"{text} cannot be read ({error.strerror}); check its path and permissions") from None


def rows_of(manifest: Manifest, known: Collection[str] = ()) -> Iterator[Object | BadRow]:
    """What a manifest names, but for rows of `known` buckets.

    Raises:
        UsageError: if it cannot be read, or is not as it was when it was first looked at.

    """
    _refuse_changed(manifest)
    yield from read_manifest(manifest.path, manifest.text, known)
    _refuse_changed(manifest)


def _refuse_changed(manifest: Manifest) -> None:
    if manifest_of(manifest.text, manifest.path) != manifest:
        raise UsageError(f"{manifest.text} was changed while it was read; give the command again once it is complete")


def default_name(texts: Sequence[str]) -> str:
    """A backfill's name made from its sources: the same sources, the same name; a long one ends in its digest."""
    text = "+".join(text.removeprefix("inventory:").removeprefix("s3://") for text in texts)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "backfill"
    if len(slug) <= _LONGEST_NAME:
        return slug
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{slug[: _LONGEST_NAME - 9]}-{digest}"


def survey(manifest: Manifest, choice: Choice = EVERYTHING) -> Survey:
    """Read a manifest once for the buckets of what is meant, in the order of their appearance, with an object of each.

    Raises:
        UsageError: if it cannot be read, or does not tell of an object what the choice goes by.

    """
    examples: dict[str, Object] = {}
    first_bad_row, leaves_out = None, False
    for row in rows_of(manifest, known=() if SIZE in choice.needs else examples):
        if isinstance(row, BadRow):
            first_bad_row = first_bad_row or row
        elif unknown := choice.unknown_of(row):
            where = f"{manifest.text} names {row.bucket}/{row.key} and"
            raise unknown.untold(where, f"write {unknown.attribute} into each line")
        elif choice.takes(row):
            examples.setdefault(row.bucket, row)
        else:
            leaves_out = True
    return Survey(examples, first_bad_row, leaves_out)


async def objects_of(source: Source, objects: Objects) -> AsyncGenerator[Object | BadRow, None]:
    """The objects that a source names, in its order.

    Raises:
        UsageError: if it cannot be read.

    """
    if isinstance(source, Manifest):
        for number, row in enumerate(rows_of(source)):
            if number % ROWS_AT_ONCE == 0:
                await checkpoint()
            yield row
        return
    if isinstance(source, Inventory):
        async with aclosing(inventoried(source, objects)) as inventory:
            async for row in inventory:
                yield row
        return
    number = 0
    try:
        async for named in listing(objects, source.bucket, source.prefix):
            number += 1
            reason = impossible(named)
            yield BadRow(source.text, number, reason) if reason else named
    except AwsError as error:
        advice = "allow the lane s3:ListBucket" if error.verdict is Verdict.STOP_LANE else "give the command again"
        raise UsageError(f"{source.text} cannot be listed ({error}); {advice}, or name a manifest") from None

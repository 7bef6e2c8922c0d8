"""The names of the made-up buckets."""

from __future__ import annotations

import re

ARCHIVE_BUCKET = "synthetic-archive"
EDGE_CASES_BUCKET = "synthetic-edge-cases"

# A published folder's bucket ends in eight hexadecimal digits, and so never looks like a region's archive.
_REGION = r"[a-z]{2,5}(?:-[a-z]+){1,3}-\d{1,2}"
_REGIONAL_ARCHIVE = re.compile(rf"{ARCHIVE_BUCKET}-({_REGION})", re.ASCII)


def region_of_archive(bucket: str) -> str | None:
    """The region that a bucket named `synthetic-archive-REGION` lives in; None for any other bucket."""
    named = _REGIONAL_ARCHIVE.fullmatch(bucket)
    return named[1] if named else None

"""The views for readers, as a migrated database has them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import asyncpg

from tests.docs.reference.markdown import code, table
from tests.postgres import connected

COLUMNS = """
select c.relname as view, obj_description(c.oid, 'pg_class') as about, a.attname as name,
       format_type(a.atttypid, a.atttypmod) as type, coalesce(col_description(c.oid, a.attnum), '') as meaning
  from pg_class c join pg_attribute a on a.attrelid = c.oid
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' and a.attnum > 0
 order by c.relname, a.attnum
"""


async def views(database_url: str) -> list[str]:
    """Every view with its columns, as its comments tell them."""
    async with connected(database_url) as connection:
        rows = await connection.fetch(COLUMNS)
    grouped = groupby(rows, lambda row: (row["view"], row["about"]))
    return [text for (view, about), columns in grouped for text in _view(view, about, columns)]


def _view(view: str, about: str, columns: Iterator[asyncpg.Record]) -> Iterator[str]:
    yield f"## {view}"
    yield f"{about[0].upper()}{about[1:]}."
    rows = [(code(column["name"]), column["type"], column["meaning"]) for column in columns]
    yield table(("column", "type", "meaning"), *rows)

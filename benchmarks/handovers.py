"""When a lane came free and who took it then, by the database's clock: a trigger writes it down."""

from __future__ import annotations

import asyncpg
from msgspec import Struct

RECORDING = """
create table handover (
  at float8 not null default extract(epoch from clock_timestamp()),
  lane_id smallint not null,
  old_holder uuid,
  new_holder uuid,
  old_expires_at float8 not null
);
create function note_handover() returns trigger language plpgsql as $$
begin
  insert into handover (lane_id, old_holder, new_holder, old_expires_at)
  values (old.id, old.holder, new.holder, extract(epoch from old.expires_at));
  return null;
end
$$;
create trigger note_handover after update on lane
  for each row when (old.holder is distinct from new.holder) execute function note_handover();
"""

LATEST = """
with takeover as (
  select distinct on (lane_id) lane_id, at as taken_at, old_holder, old_expires_at
    from handover where new_holder is not null order by lane_id, at desc
)
select taken_at, case when old_holder is null then released.at else old_expires_at end as free_at
  from takeover t
  left join lateral (
    select max(at) as at from handover h where h.lane_id = t.lane_id and h.new_holder is null and h.at < t.taken_at
  ) released on true
"""
"""A lane that was given back came free then, one whose owner was killed when the lease was over."""


class Handover(Struct, frozen=True):
    """When a lane came free and when it was taken, in seconds of the epoch."""

    free_at: float
    taken_at: float


async def record_handovers(connection: asyncpg.Connection) -> None:
    """Write down from now on how this database's lanes change hands."""
    await connection.execute(RECORDING)


async def latest_handovers(connection: asyncpg.Connection) -> list[Handover]:
    """The latest of each lane that has changed hands."""
    rows = await connection.fetch(LATEST)
    return [Handover(row["free_at"], row["taken_at"]) for row in rows if row["free_at"] is not None]

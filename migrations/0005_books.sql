-- Money and counts by backfill and lane (one row a backfill would be a lock held through every claim), the
-- operators' decisions, and the notices that nobody could read.

create table tally (
  backfill_id integer not null references backfill,
  lane_id smallint not null references lane,
  pending bigint not null default 0 check (pending >= 0),
  active bigint not null default 0 check (active >= 0),
  done bigint not null default 0 check (done >= 0),
  failed bigint not null default 0 check (failed >= 0),
  skipped bigint not null default 0 check (skipped >= 0),
  uncertain bigint not null default 0 check (uncertain >= 0),
  expired bigint not null default 0 check (expired >= 0),
  labels bigint not null default 0 check (labels >= 0),
  allowance_usd numeric(14, 6) not null default 0,
  reserved_usd numeric(14, 6) not null default 0 check (reserved_usd >= 0),
  spent_usd numeric(14, 6) not null default 0 check (spent_usd >= 0),
  primary key (backfill_id, lane_id)
) with (fillfactor = 40, autovacuum_vacuum_threshold = 1000);

comment on column tally.allowance_usd is 'the lane''s share of a budget, topped up at the claim; unused without a budget';

create table audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  who text not null,
  action text not null,
  backfill text,
  detail jsonb not null default '{}'
);

create table notice_quarantine (
  id bigint generated always as identity primary key,
  lane_id smallint not null references lane,
  received_at timestamptz not null default clock_timestamp(),
  message_id text not null,
  body text not null,
  reason text not null,
  unique (lane_id, message_id)
);

-- What a process owns: a lane is one AWS account and region, held under a lease, with the channels it ever used.
-- Its name fixed in `deployment`, the database can tell whose jobs it keeps.

create table deployment (
  only_row boolean primary key default true check (only_row),
  name text not null,
  created_at timestamptz not null default now()
);

create table lane (
  id smallint generated always as identity primary key,
  name text not null unique,
  region text not null,
  account_id text,
  holder uuid,
  holder_name text,
  epoch bigint not null default 0,
  expires_at timestamptz not null default '-infinity',
  report jsonb not null default '{}',
  check (holder is null or account_id is not null)
) with (fillfactor = 40);

comment on column lane.account_id is 'pinned by the first owner; another account under the same name is refused';
comment on column lane.report is 'what the owner last said of itself: running, paces, throttled; for status only';

create table channel (
  id smallint generated always as identity primary key,
  lane_id smallint not null references lane,
  topic_arn text not null,
  role_arn text not null,
  unique (lane_id, topic_arn, role_arn)
);

-- The result pages that could not be read or stored, as they came: what a job failed with "unreadable result" for.
-- serves: 0006

create table page_aside (
  job_id bigint primary key,
  received_at timestamptz not null default clock_timestamp(),
  size_bytes bigint not null,
  number integer not null,
  lane_id smallint not null references lane,
  reason text not null,
  body bytea not null
);

create index page_aside_of_lane on page_aside (lane_id);

comment on column page_aside.size_bytes is 'of the whole page; `body` is its beginning, a mebibyte at most';

-- A backfill of which too many videos fail is paused; whoever resumes it has seen them, and they count no more.
-- serves: 0006

alter table backfill
  add column failures_forgiven bigint not null default 0,
  add column outcomes_forgiven bigint not null default 0;

comment on column backfill.failures_forgiven is 'failed videos at the time of the latest resume';
comment on column backfill.outcomes_forgiven is 'done and failed videos at the time of the latest resume';

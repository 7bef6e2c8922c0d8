-- What an operator asks for: backfills and their videos. The checks tie each state to the columns that it needs.

create table backfill (
  id integer generated always as identity primary key,
  name text not null unique,
  priority integer not null default 0,
  min_confidence double precision not null check (min_confidence between 0 and 100),
  edition text not null,
  aggregate_by text not null check (aggregate_by in ('TIMESTAMPS', 'SEGMENTS')),
  price_usd_per_minute numeric(12, 6) not null check (price_usd_per_minute >= 0),
  expected_minutes_per_gb double precision not null check (expected_minutes_per_gb > 0),
  budget_usd numeric(14, 6) check (budget_usd >= 0),
  budget_rule text not null check (budget_rule in ('expected', 'strict')),
  max_generations smallint not null check (max_generations >= 1),
  registered_at timestamptz not null default now(),
  paused_at timestamptz,
  pause_reason text,
  cancelled_at timestamptz,
  check ((paused_at is null) = (pause_reason is null))
);

create sequence video_claim_order;

create table video (
  id bigint generated always as identity primary key,
  job_id bigint,
  claim_order bigint not null default nextval('video_claim_order'),
  size_bytes bigint check (size_bytes >= 0),
  duration_ms bigint check (duration_ms >= 0),
  registered_at timestamptz not null default now(),
  claimed_at timestamptz,
  settled_at timestamptz,
  backfill_id integer not null references backfill,
  lane_id smallint not null references lane,
  generation smallint not null default 1,
  claims smallint not null default 0 check (claims >= 0),
  state text not null default 'pending',
  reserved_usd numeric(14, 6) not null default 0 check (reserved_usd >= 0),
  bucket text not null,
  key text not null,
  version_id text,
  etag text,
  reason text,
  unique nulls not distinct (bucket, key, version_id, backfill_id),
  constraint video_state check (case state
    when 'pending' then job_id is null and settled_at is null and reason is null and reserved_usd = 0
    when 'active' then claimed_at is not null and settled_at is null and reason is null
                       and (job_id is null or reserved_usd = 0)
    when 'done' then job_id is not null and settled_at is not null and reason is null and reserved_usd = 0
    when 'failed' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'skipped' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'uncertain' then reason is not null and settled_at is not null and job_id is not null and reserved_usd = 0
    when 'expired' then reason is not null and settled_at is not null and job_id is not null and reserved_usd = 0
    else false
  end)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

comment on column video.claim_order is
  'order of claiming; a column that only the index of pending videos has, or the planner walks the primary key';
comment on column video.reserved_usd is 'from the claim to the intent; then the job holds the reservation';
comment on column video.claims is 'times taken up without a job to show for it; a video that kills the process stops at 3';

create index video_pending on video (lane_id, backfill_id, claim_order) where state = 'pending';
create index video_claimed on video (lane_id) where state = 'active' and job_id is null;
create index video_of_job on video (job_id) where job_id is not null;
create index video_stopped on video (backfill_id, reason) where state in ('failed', 'skipped', 'uncertain', 'expired');

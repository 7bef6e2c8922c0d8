-- What is paid for: one StartContentModeration of an object with given settings. The intent is committed before the
-- call; identity and generation alone make tag and token, so that a replay finds the same job.

create table job (
  id bigint generated always as identity primary key,
  size_bytes bigint not null,
  intent_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  due_at timestamptz,
  ready_at timestamptz,
  settled_at timestamptz,
  page_token_at timestamptz,
  detections bigint not null default 0,
  duration_ms bigint,
  video_id bigint not null,
  backfill_id integer not null references backfill,
  next_page integer not null default 1,
  lane_id smallint not null references lane,
  channel_id smallint not null references channel,
  generation smallint not null,
  asked smallint not null default 0,
  is_noticed boolean not null default false,
  state text not null default 'intent',
  aggregate_by text not null check (aggregate_by in ('TIMESTAMPS', 'SEGMENTS')),
  min_confidence double precision not null,
  reserved_usd numeric(14, 6) not null default 0 check (reserved_usd >= 0),
  cost_usd numeric(14, 6) not null default 0 check (cost_usd >= 0),
  identity bytea not null check (length(identity) = 32),
  digest bytea,
  tag text not null,
  token text not null,
  bucket text not null,
  key text not null,
  version_id text,
  etag text,
  aws_job_id text,
  next_token text,
  model_version text,
  metadata jsonb,
  reason text,
  unique (identity, generation),
  constraint job_state check (case state
    when 'intent' then aws_job_id is null and settled_at is null and reason is null and cost_usd = 0
    when 'running' then aws_job_id is not null and started_at is not null and due_at is not null
                        and settled_at is null and reason is null and cost_usd = 0
    when 'ready' then aws_job_id is not null and started_at is not null and ready_at is not null
                      and settled_at is null and reason is null and cost_usd = 0
    when 'done' then aws_job_id is not null and started_at is not null and ready_at is not null
                     and settled_at is not null and reason is null and reserved_usd = 0 and next_token is null
    when 'failed' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'expired' then reason is not null and settled_at is not null and reserved_usd = 0 and aws_job_id is not null
    when 'uncertain' then reason is not null and settled_at is not null and reserved_usd = 0
    else false
  end)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

comment on column job.video_id is 'the video that bought the job; others may be attached to it at no cost';
comment on column job.next_page is 'number of the next page to write; the compare-and-set that makes a page written once';
comment on column job.digest is 'running SHA-256 over the pages written';

create unique index job_by_aws_job_id on job (lane_id, aws_job_id) where aws_job_id is not null;
create index job_intents on job (lane_id, intent_at) where state = 'intent';
create index job_due on job (lane_id, due_at) where state = 'running';
create index job_ready on job (lane_id, started_at) where state = 'ready';
create index job_settled on job (lane_id, settled_at) where state = 'done';

-- What was found. `detection` is narrow, widest columns first, and has no foreign key (it costs threefold; `verify`
-- checks instead). job_id leads every key, so that partitioning by it is DDL only.

create table label (
  id smallint generated always as identity primary key,
  name text not null,
  parent_name text not null,
  taxonomy_level smallint,
  unique nulls not distinct (name, parent_name, taxonomy_level)
);

create table detection (
  job_id bigint not null,
  confidence double precision not null,
  timestamp_ms integer,
  label_id smallint not null,
  start_ms integer,
  end_ms integer,
  content_types jsonb
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create index detection_by_job on detection (job_id);

create table job_label (
  job_id bigint not null,
  highest_confidence double precision not null,
  detections integer not null,
  first_ms integer,
  last_ms integer,
  label_id smallint not null references label,
  primary key (job_id, label_id)
);

create index job_label_by_confidence on job_label (label_id, highest_confidence);

comment on table job_label is 'written when a job settles, so that no search over the archive scans detections';

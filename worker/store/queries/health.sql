-- name: state_of_schema
-- Who we are here, and the newest migration.
select current_user as role, (select max(version) from schema_migration) as migration

-- name: missing_rights
-- What deploy/postgres/roles.sql grants the worker and this role lacks.
with granted (relation, rights) as (values
  ('audit', 'select,insert'), ('backfill', 'select,insert,update,delete'), ('channel', 'select,insert,update,delete'),
  ('deployment', 'select'), ('detection', 'select,insert,update,delete'), ('job', 'select,insert,update,delete'),
  ('job_label', 'select,insert,update,delete'), ('label', 'select,insert,update,delete'),
  ('lane', 'select,insert,update,delete'), ('moderation_labels', 'select'),
  ('notice_quarantine', 'select,insert,update,delete'), ('page_aside', 'select,insert,update,delete'),
  ('schema_migration', 'select'), ('tally', 'select,insert,update,delete'), ('video', 'select,insert,update,delete'),
  ('video_labels', 'select'), ('video_status', 'select')
), lacking as (
  select right_ || ' on ' || relation as missing
    from granted, unnest(string_to_array(rights, ',')) as right_
   where not has_table_privilege(relation, right_)
  union all
  select 'update (' || column_ || ') on deployment' from unnest(array['incarnation', 'restored_from']) as column_
   where not has_column_privilege('deployment', column_, 'update')
  union all
  select 'usage on video_claim_order' where not has_sequence_privilege('video_claim_order', 'usage')
  union all
  select 'temporary on the database' where not has_database_privilege(current_database(), 'temporary')
)
select missing from lacking order by missing

-- name: objects_of_buckets
-- A few registered objects of each bucket; steps from bucket to bucket, however many videos they have.
with recursive buckets as (
  (select bucket from video where bucket > '' order by bucket limit 1)
  union all
  select (select v.bucket from video v where v.bucket > b.bucket order by v.bucket limit 1)
    from buckets b where b.bucket is not null
)
select v.bucket, v.key
  from (select bucket from buckets where bucket is not null limit $1) b,
       lateral (select bucket, key from video where bucket = b.bucket order by key limit $2) v

-- name: known_aws_job_ids
-- Those of the JobIds that are of a lane's jobs.
select j.aws_job_id from job j join lane l on l.id = j.lane_id
 where l.name = $1 and j.aws_job_id = any($2::text[])

-- name: extent_of_labels
-- Where the jobs lie whose labels a backfill has (of videos that settled at that time or later, if one is given), how
-- many labels all of its videos have, and the time of the snapshot.
select b.id as backfill_id, b.purging_at is not null as is_purging, now() as at,
       (select coalesce(sum(t.labels), 0)::bigint from tally t where t.backfill_id = b.id) as labels,
       min(v.job_id) as first, max(v.job_id) as last
  from backfill b
  left join video v on v.backfill_id = b.id and v.state = 'done'
                   and v.settled_at >= coalesce($2::timestamptz, '-infinity')
 where b.name = $1
 group by b.id

-- name: labels_of_jobs
-- The rows of `moderation_labels` of a backfill's videos with jobs of these ids, in their order; if a time is given, of
-- videos that settled then or later. What a job has seen is not sorted: that would take as long as all else.
select b.name as backfill, v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id, j.aws_job_id,
       d.timestamp_ms, d.start_ms, d.end_ms, l.name, l.parent_name, l.taxonomy_level::integer as taxonomy_level,
       d.confidence, coalesce(d.content_types, '[]') as content_types, j.model_version
  from video v
  join backfill b on b.id = v.backfill_id
  join job j on j.id = v.job_id
  join detection d on d.job_id = v.job_id
  join label l on l.id = d.label_id
 where v.job_id between $2 and $3 and v.backfill_id = $1 and v.state = 'done' and j.state = 'done'
   and ($4::timestamptz is null or v.settled_at >= $4)
 order by v.job_id

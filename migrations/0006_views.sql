-- What readers rely on: settled jobs only, all labels of a video or none.

create view video_status as
select b.name as backfill,
       v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id,
       case when v.state = 'pending' and b.cancelled_at is not null then 'skipped' else v.state end as state,
       case when v.state = 'pending' and b.cancelled_at is not null then 'cancelled' else v.reason end as reason,
       v.generation::integer as generations,
       j.aws_job_id,
       coalesce(j.duration_ms, v.duration_ms) as duration_ms,
       case when v.state = 'done' then j.detections else 0 end as labels,
       case when j.video_id = v.id then j.cost_usd else 0 end as cost_usd,
       v.registered_at, j.started_at, v.settled_at
  from video v
  join backfill b on b.id = v.backfill_id
  left join job j on j.id = v.job_id;

create view moderation_labels as
select b.name as backfill,
       v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id,
       j.aws_job_id,
       d.timestamp_ms, d.start_ms, d.end_ms,
       l.name, l.parent_name, l.taxonomy_level::integer as taxonomy_level,
       d.confidence,
       coalesce(d.content_types, '[]') as content_types,
       j.model_version
  from video v
  join backfill b on b.id = v.backfill_id
  join job j on j.id = v.job_id
  join detection d on d.job_id = j.id
  join label l on l.id = d.label_id
 where v.state = 'done' and j.state = 'done';

create view video_labels as
select b.name as backfill,
       v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id,
       l.name, l.parent_name, l.taxonomy_level::integer as taxonomy_level,
       jl.detections, jl.highest_confidence, jl.first_ms, jl.last_ms
  from video v
  join backfill b on b.id = v.backfill_id
  join job j on j.id = v.job_id
  join job_label jl on jl.job_id = j.id
  join label l on l.id = jl.label_id
 where v.state = 'done' and j.state = 'done';

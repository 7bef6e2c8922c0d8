-- name: videos_stopped_for_reason
-- A page of a backfill's videos that ended without labels for one reason, in the order of their ids.
select v.id, v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id, v.state,
       v.generation::integer as generations, j.aws_job_id, v.settled_at
  from video v left join job j on j.id = v.job_id
 where v.backfill_id = (select id from backfill where name = $1) and v.reason = $2 and v.id > $3
   and v.state in ('failed', 'skipped', 'uncertain', 'expired')
 order by v.id limit $4

-- name: video_by_id
-- One video with its job, as `video_status` shows it and more.
select v.id, b.name as backfill, v.bucket, v.key, coalesce(v.version_id, j.version_id) as version_id,
       case when v.state = 'pending' and b.cancelled_at is not null then 'skipped' else v.state end as state,
       case when v.state = 'pending' and b.cancelled_at is not null then 'cancelled' else v.reason end as reason,
       v.generation::integer as generations, l.name as lane, l.region, j.id as job_id, j.aws_job_id,
       coalesce(j.duration_ms, v.duration_ms) as duration_ms, coalesce(j.size_bytes, v.size_bytes) as size_bytes,
       case when v.state = 'done' then j.detections else 0 end as labels,
       case when j.video_id = v.id then j.cost_usd else 0 end::float8 as cost_usd,
       coalesce(j.min_confidence, b.min_confidence) as min_confidence, j.model_version, j.metadata,
       v.registered_at, j.started_at, v.settled_at
  from video v
  join backfill b on b.id = v.backfill_id
  join lane l on l.id = v.lane_id
  left join job j on j.id = v.job_id
 where v.id = $1

-- name: videos_of_object
-- Where an object stands in the backfills that name it, the latest first.
select v.id, b.name as backfill, v.version_id, v.state, v.settled_at
  from video v join backfill b on b.id = v.backfill_id
 where v.bucket = $1 and v.key = $2
 order by v.id desc limit $3

-- name: timeline_of_job
-- A job's detections, a row for each label: when it was seen, until when, and how surely. Confidence is cut off, never
-- rounded up, so that a threshold shows what SQL finds above it.
select l.name, l.parent_name, l.taxonomy_level::integer as taxonomy_level,
       array_agg(coalesce(d.start_ms, d.timestamp_ms) order by coalesce(d.start_ms, d.timestamp_ms)) as from_ms,
       case when count(d.end_ms) > 0
            then array_agg(d.end_ms order by coalesce(d.start_ms, d.timestamp_ms)) end as until_ms,
       array_agg(trunc(d.confidence::numeric, 3)::float8 order by coalesce(d.start_ms, d.timestamp_ms)) as confidence
  from (select * from detection where job_id = $1 limit $2) d join label l on l.id = d.label_id
 group by l.id
 order by l.taxonomy_level nulls last, l.parent_name, l.name

-- name: content_types_of_job
-- What kinds of picture a job's labels were seen in, a row for each kind: when, and how surely at most.
select name, array_agg(from_ms order by from_ms) as from_ms, array_agg(confidence order by from_ms) as confidence
  from (select kind ->> 'Name' as name, coalesce(d.start_ms, d.timestamp_ms) as from_ms,
               max(trunc((kind ->> 'Confidence')::numeric, 3)::float8) as confidence
          from (select * from detection where job_id = $1 limit $2) d, jsonb_array_elements(d.content_types) kind
         where d.content_types is not null
         group by 1, 2) seen
 group by name order by name

-- name: labels_by_name
-- The dictionary's entries of a name: the same name may have several parents.
select id from label where name = $1

-- name: dictionary
-- Every label that was ever found.
select name, parent_name, taxonomy_level::integer as taxonomy_level from label order by 1, 2, 3

-- name: jobs_that_show_label
-- A walk through the jobs that show one of the labels, the surest first, from a position ($3, $4, $5) on: $6 steps, of
-- which those are kept that fit backfill and time. The last step is always among the rows, as the position to go on
-- from, with a null video where it does not fit.
with steps as materialized (
  select step.*, row_number() over (order by step.highest_confidence desc, step.job_id desc, step.label_id) as number
    from unnest($1::smallint[]) as wanted (label_id)
   cross join lateral (
     select jl.job_id, jl.label_id, jl.highest_confidence, jl.detections, jl.first_ms, jl.last_ms
       from job_label jl
      where jl.label_id = wanted.label_id and jl.highest_confidence >= $2 and jl.highest_confidence <= $3
        and ((jl.highest_confidence, jl.job_id) < ($3, $4)
             or ((jl.highest_confidence, jl.job_id) = ($3, $4) and jl.label_id > $5::bigint))
      order by jl.highest_confidence desc, jl.job_id desc limit $6) step
   order by number limit $6
)
select s.number, s.job_id, s.label_id, s.highest_confidence, s.detections, s.first_ms, s.last_ms,
       l.name, l.parent_name, v.id, v.backfill, v.bucket, v.key, v.settled_at
  from steps s join label l on l.id = s.label_id
  left join lateral (
    select v.id, b.name as backfill, v.bucket, v.key, v.settled_at
      from video v join backfill b on b.id = v.backfill_id
     where v.job_id = s.job_id and v.state = 'done' and ($7::text is null or b.name = $7)
       and ($8::timestamptz is null or v.settled_at >= $8) and ($9::timestamptz is null or v.settled_at < $9)
     order by v.id limit 1) v on true
 where v.id is not null or s.number = (select max(number) from steps)
 order by s.number

-- name: videos_done
-- How many videos of a backfill (of all for null) were done in a time, counted up to $4.
select count(*)
  from (select 1
          from backfill b
         cross join lateral (
           select 1 from video v
            where v.backfill_id = b.id and v.state = 'done' and v.settled_at >= coalesce($2::timestamptz, '-infinity')
              and v.settled_at < coalesce($3::timestamptz, 'infinity')
            limit $4) v
         where $1::text is null or b.name = $1
         limit $4) counted

-- name: few_that_show_label
-- What `jobs_that_show_label` finds, the first $6 of it, where few videos are of the backfill ($7) and the time ($8 to
-- $9): each of them is looked at. Labels are looked up job by job, whatever the planner thinks of their number.
with few as materialized (
  select distinct v.job_id
    from backfill b
   cross join lateral (
     select v.job_id from video v
      where v.backfill_id = b.id and v.state = 'done' and v.settled_at >= coalesce($8::timestamptz, '-infinity')
        and v.settled_at < coalesce($9::timestamptz, 'infinity')
      offset 0) v
   where $7::text is null or b.name = $7
), shown as materialized (
  select seen.*, row_number() over (order by seen.highest_confidence desc, seen.job_id desc, seen.label_id) as number
    from few
   cross join lateral (
     select jl.job_id, jl.label_id, jl.highest_confidence, jl.detections, jl.first_ms, jl.last_ms
       from job_label jl
      where jl.job_id = few.job_id and jl.label_id = any($1::smallint[]) and jl.highest_confidence >= $2
        and ((jl.highest_confidence, jl.job_id) < ($3, $4)
             or ((jl.highest_confidence, jl.job_id) = ($3, $4) and jl.label_id > $5::bigint))
      offset 0) seen
   order by number limit $6
)
select s.number, s.job_id, s.label_id, s.highest_confidence, s.detections, s.first_ms, s.last_ms,
       l.name, l.parent_name, v.id, v.backfill, v.bucket, v.key, v.settled_at
  from shown s join label l on l.id = s.label_id
 cross join lateral (
    select v.id, b.name as backfill, v.bucket, v.key, v.settled_at
      from video v join backfill b on b.id = v.backfill_id
     where v.job_id = s.job_id and v.state = 'done' and ($7::text is null or b.name = $7)
       and ($8::timestamptz is null or v.settled_at >= $8) and ($9::timestamptz is null or v.settled_at < $9)
     order by v.id limit 1) v
 order by s.number

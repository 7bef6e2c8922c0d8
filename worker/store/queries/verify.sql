-- name: verify_tallies
-- Tallies that differ from the videos they count.
select b.name as backfill, l.name as lane
  from (select backfill_id, lane_id, count(*) filter (where state = 'pending') as pending,
               count(*) filter (where state = 'active') as active, count(*) filter (where state = 'done') as done,
               count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'skipped') as skipped,
               count(*) filter (where state = 'uncertain') as uncertain,
               count(*) filter (where state = 'expired') as expired
          from video where $1::int is null or backfill_id = $1 group by 1, 2) v
  full join (select * from tally where $1::int is null or backfill_id = $1) t using (backfill_id, lane_id)
  join backfill b on b.id = backfill_id
  join lane l on l.id = lane_id
 where (coalesce(v.pending, 0), coalesce(v.active, 0), coalesce(v.done, 0), coalesce(v.failed, 0),
        coalesce(v.skipped, 0), coalesce(v.uncertain, 0), coalesce(v.expired, 0))
       is distinct from (t.pending, t.active, t.done, t.failed, t.skipped, t.uncertain, t.expired)

-- name: verify_money
-- Tallies whose sums differ from the jobs and claims they stand for.
with jobs as (
  select backfill_id, lane_id, sum(cost_usd) as spent_usd, sum(reserved_usd) as reserved_usd
    from job where $1::int is null or backfill_id = $1 group by 1, 2
), claims as (
  select backfill_id, lane_id, sum(reserved_usd) as reserved_usd
    from video where ($1::int is null or backfill_id = $1) and state = 'active' group by 1, 2
)
select b.name as backfill, l.name as lane
  from tally t
  join backfill b on b.id = t.backfill_id
  join lane l on l.id = t.lane_id
  left join jobs j on j.backfill_id = t.backfill_id and j.lane_id = t.lane_id
  left join claims c on c.backfill_id = t.backfill_id and c.lane_id = t.lane_id
 where ($1::int is null or t.backfill_id = $1)
   and (t.spent_usd, t.reserved_usd)
       is distinct from (coalesce(j.spent_usd, 0), coalesce(j.reserved_usd, 0) + coalesce(c.reserved_usd, 0))

-- name: verify_labels
-- Tallies whose labels differ from those of the jobs that their videos ended with.
with videos as (
  select v.backfill_id, v.lane_id, sum(j.detections) as labels
    from video v join job j on j.id = v.job_id
   where ($1::int is null or v.backfill_id = $1) and v.state = 'done' group by 1, 2
)
select b.name as backfill, l.name as lane
  from tally t
  join backfill b on b.id = t.backfill_id
  join lane l on l.id = t.lane_id
  left join videos v on v.backfill_id = t.backfill_id and v.lane_id = t.lane_id
 where ($1::int is null or t.backfill_id = $1) and t.labels <> coalesce(v.labels, 0)

-- name: verify_detections
-- Jobs whose rows differ in number from what their pages counted.
select j.id, j.bucket, j.key, j.detections as counted, coalesce(d.rows, 0) as rows
  from job j
  left join (select job_id, count(*) as rows from detection group by job_id) d on d.job_id = j.id
 where ($1::int is null or j.backfill_id = $1) and j.detections <> coalesce(d.rows, 0)
 limit 100

-- name: verify_summaries
-- Settled jobs whose label summaries differ in number from their pages.
select j.id, j.bucket, j.key, j.detections as counted, coalesce(s.rows, 0) as rows
  from job j
  left join (select job_id, sum(detections) as rows from job_label group by job_id) s on s.job_id = j.id
 where ($1::int is null or j.backfill_id = $1) and j.state = 'done' and j.detections <> coalesce(s.rows, 0)
 limit 100

-- name: verify_orphans
-- Detections without a job or without a label.
select 'detections of job ' || d.job_id || ', which does not exist' as finding
  from (select distinct job_id from detection) d where not exists (select from job j where j.id = d.job_id)
union all
select 'detections of label ' || d.label_id || ', which does not exist'
  from (select distinct label_id from detection) d where not exists (select from label l where l.id = d.label_id)

-- name: verify_videos
-- Videos whose state is not that of their job.
select b.name as backfill, v.bucket, v.key, v.state, j.state as job_state
  from video v join backfill b on b.id = v.backfill_id left join job j on j.id = v.job_id
 where ($1::int is null or v.backfill_id = $1)
   and case v.state
         when 'done' then j.state is distinct from 'done'
         when 'active' then v.job_id is not null and (j.state is null or j.state not in ('intent', 'running', 'ready'))
         else false
       end
 limit 100

-- name: verify_identities
-- Objects paid for twice in one generation.
select encode(identity, 'hex') as identity, generation, count(*) as jobs
  from job where aws_job_id is not null group by identity, generation having count(*) > 1 limit 100

-- name: count_videos
-- How many videos are registered.
select count(*) from video where $1::int is null or backfill_id = $1

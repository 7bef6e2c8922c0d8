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
-- Detections without a job or without a label, and videos that no tally counts.
select 'detections of job ' || d.job_id || ', which does not exist' as finding
  from (select distinct job_id from detection) d where not exists (select from job j where j.id = d.job_id)
union all
select 'detections of label ' || d.label_id || ', which does not exist'
  from (select distinct label_id from detection) d where not exists (select from label l where l.id = d.label_id)
union all
select 'videos of backfill ' || v.backfill_id || ' and lane ' || v.lane_id || ', which no tally counts'
  from (select distinct backfill_id, lane_id from video) v
 where not exists (select from tally t where t.backfill_id = v.backfill_id and t.lane_id = v.lane_id)

-- name: verify_videos
-- Videos whose state is not that of their job.
select b.name as backfill, v.bucket, v.key, v.state, j.state as job_state
  from video v join backfill b on b.id = v.backfill_id left join job j on j.id = v.job_id
 where ($1::int is null or v.backfill_id = $1)
   and case v.state
         when 'active' then v.job_id is not null and (j.state is null or j.state not in ('intent', 'running', 'ready'))
         when 'failed' then v.job_id is not null and j.state is distinct from 'failed'
         when 'skipped' then v.job_id is not null and j.state is distinct from 'failed'
         when 'uncertain' then v.job_id is not null and j.state is distinct from 'uncertain'
         when 'pending' then false
         else j.state is distinct from v.state
       end
 limit 100

-- name: verify_jobs
-- Jobs that no video waits for, or that have labels for none. Those without labels lose their videos to a retry; those
-- of a purged backfill stand as long as others share them.
select j.id, j.bucket, j.key, j.state
  from job j
 where ($1::int is null or j.backfill_id = $1)
   and (j.state in ('intent', 'running', 'ready') or (j.state = 'done' and j.backfill_id is not null))
   and not exists (select from video v where v.job_id = j.id)
 limit 100

-- name: verify_allowances
-- Budgets of which the lanes are allowed more than there is.
select b.name as backfill, b.budget_usd, sum(t.allowance_usd) as allowed_usd
  from backfill b join tally t on t.backfill_id = b.id
 where ($1::int is null or b.id = $1)
 group by b.id having sum(t.allowance_usd) > b.budget_usd

-- name: verify_strict_budgets
-- Strict budgets, at the highest that they ever were, beyond which something was spent or reserved.
select b.name as backfill, l.budget_usd, sum(t.spent_usd + t.reserved_usd) as held_usd
  from backfill b
  join tally t on t.backfill_id = b.id
 cross join lateral (
    select max(coalesce((a.detail ->> 'before_usd')::numeric, 'infinity')) as before_usd
      from audit a where a.backfill = b.name and a.action = 'budget' and a.at >= b.registered_at) earlier
 cross join lateral (select greatest(b.budget_usd, earlier.before_usd) as budget_usd) l
 where ($1::int is null or b.id = $1) and b.budget_rule = 'strict'
 group by b.id, l.budget_usd having sum(t.spent_usd + t.reserved_usd) > l.budget_usd

-- name: verify_label_summaries
-- Summaries that differ from the detections they sum up, label by label.
with counted as (
  select job_id, label_id, count(*) as detections, max(confidence) as highest_confidence,
         min(coalesce(timestamp_ms, start_ms)) as first_ms, max(coalesce(end_ms, timestamp_ms)) as last_ms
    from detection group by job_id, label_id
)
select j.id, j.bucket, j.key, coalesce(c.label_id, s.label_id) as label_id
  from job j
  join (counted c full join job_label s on s.job_id = c.job_id and s.label_id = c.label_id)
    on j.id = coalesce(c.job_id, s.job_id)
 where ($1::int is null or j.backfill_id = $1) and j.state = 'done'
   and (c.detections, c.highest_confidence, c.first_ms, c.last_ms)
       is distinct from (s.detections, s.highest_confidence, s.first_ms, s.last_ms)
 limit 100

-- name: verify_identities
-- Objects paid for twice in one generation.
select encode(identity, 'hex') as identity, generation, count(*) as jobs
  from job where aws_job_id is not null group by identity, generation having count(*) > 1 limit 100

-- name: count_videos
-- How many videos are registered.
select count(*) from video where $1::int is null or backfill_id = $1

-- name: take_as_long_as_it_takes
-- For the transactions of an operator's command: a batch may hold any number of detections.
set local statement_timeout = 0

-- name: lock_tallies_of_backfill
-- Claims, retries and registrations of the backfill wait until the decision to purge it is committed, and see it.
select pending, active from tally where backfill_id = $1 order by lane_id for no key update

-- name: lock_backfill
-- A backfill as it stands, while nobody registers into it.
select id, cancelled_at is not null as is_cancelled, purging_at is not null as is_purging
  from backfill where id = $1 for no key update

-- name: mark_purging
-- From now on nothing is registered into the backfill.
update backfill set purging_at = clock_timestamp() where id = $1

-- name: books_of_backfill
-- What the audit keeps of a backfill that is purged.
select sum(pending) as pending, sum(active) as active, sum(done) as done, sum(failed) as failed,
       sum(skipped) as skipped, sum(uncertain) as uncertain, sum(expired) as expired, sum(labels) as labels,
       sum(spent_usd) as spent_usd
  from tally where backfill_id = $1

-- name: range_of_videos
-- Where the ids of a backfill's videos lie; null where it has none.
select min(id) as first, max(id) as last from video where backfill_id = $1

-- name: range_of_jobs
-- Where the ids of the jobs lie that a backfill has bought; null where it has none.
select min(id) as first, max(id) as last from job where backfill_id = $1

-- name: jobs_of_videos_to_purge
-- The jobs that a backfill's videos of these ids are attached to.
select distinct job_id from video
 where backfill_id = $1 and id between $2 and $3 and job_id is not null
 order by job_id

-- name: jobs_to_purge
-- The jobs of these ids that a backfill has bought.
select id as job_id from job where backfill_id = $1 and id between $2 and $3 order by id

-- name: purge_videos
-- Removes a backfill's videos of these ids; the tallies follow.
with gone as (
  delete from video where backfill_id = $1 and id between $2 and $3 returning lane_id, state, job_id
), change as (
  select g.lane_id, count(*) filter (where g.state = 'pending') as pending,
         count(*) filter (where g.state = 'done') as done, count(*) filter (where g.state = 'failed') as failed,
         count(*) filter (where g.state = 'skipped') as skipped,
         count(*) filter (where g.state = 'uncertain') as uncertain,
         count(*) filter (where g.state = 'expired') as expired,
         coalesce(sum(j.detections) filter (where g.state = 'done'), 0) as labels
    from gone g left join job j on j.id = g.job_id group by 1
), counted as (
  update tally t
     set pending = t.pending - c.pending, done = t.done - c.done, failed = t.failed - c.failed,
         skipped = t.skipped - c.skipped, uncertain = t.uncertain - c.uncertain, expired = t.expired - c.expired,
         labels = t.labels - c.labels
    from change c
   where t.backfill_id = $1 and t.lane_id = c.lane_id
)
select count(*) from gone

-- name: purge_jobs
-- Removes those of the locked jobs that the backfill has bought and no video is attached to, with all that was found;
-- those that videos of other backfills share stay and are nobody's purchase any more. The tallies follow.
with bought as (
  select j.id, exists (select from video v where v.job_id = j.id) as is_shared
    from job j where j.id = any($2::bigint[]) and (j.backfill_id = $1 or j.backfill_id is null)
), kept as (
  update job j set backfill_id = null, video_id = null
    from bought b, job old
   where j.id = b.id and b.is_shared and old.id = j.id and old.backfill_id = $1
  returning j.lane_id, j.cost_usd
), gone as (
  delete from job j using bought b where j.id = b.id and not b.is_shared
  returning j.id, j.lane_id, j.backfill_id, j.cost_usd
), found as (
  delete from detection d using gone g where d.job_id = g.id returning 1
), aside as (
  delete from page_aside a using gone g where a.job_id = g.id
), summaries as (
  delete from job_label l using gone g where l.job_id = g.id
), change as (
  select lane_id, sum(cost_usd) as spent_usd
    from (select lane_id, cost_usd from kept
          union all
          select lane_id, cost_usd from gone where backfill_id = $1) parts
   group by 1
), counted as (
  update tally t set spent_usd = t.spent_usd - c.spent_usd from change c where t.backfill_id = $1 and t.lane_id = c.lane_id
)
select (select count(*) from gone) as jobs, (select count(*) from kept) as shared, (select count(*) from found) as labels

-- name: forget_tallies
-- The last rows of a purged backfill but one.
delete from tally where backfill_id = $1

-- name: forget_backfill
-- The last row of a purged backfill.
delete from backfill where id = $1 and purging_at is not null

-- name: pause_failing_backfills
-- Stops the claiming of backfills of which too many videos fail, as counted since the latest resume.
with failing as (
  select b.id, b.name, sum(t.failed) - b.failures_forgiven as failures,
         sum(t.done + t.failed) - b.outcomes_forgiven as outcomes
    from backfill b join tally t on t.backfill_id = b.id
   where b.paused_at is null and b.cancelled_at is null
   group by b.id
  having sum(t.done + t.failed) - b.outcomes_forgiven >= $1
     and sum(t.failed) - b.failures_forgiven > $2 * (sum(t.done + t.failed) - b.outcomes_forgiven)
), paused as (
  update backfill b
     set paused_at = clock_timestamp(),
         pause_reason = f.failures || ' of ' || f.outcomes || ' videos failed'
    from failing f where b.id = f.id and b.paused_at is null
  returning b.name, b.pause_reason
), written as (
  insert into audit (who, action, backfill, detail)
  select 'modworker', 'pause', name, jsonb_build_object('reason', pause_reason) from paused
)
select name, pause_reason from paused

-- name: oldest_result
-- How long the oldest result of a lane has been waiting to be read, and how many wait.
select extract(epoch from clock_timestamp() - started_at)::float8 as age_seconds
  from job where lane_id = $1 and state = 'ready' order by started_at limit 1

-- name: incarnation
-- Which cluster, timeline and database this is: another one after most kinds of restoring.
select s.system_identifier || '.' || c.timeline_id || '.' || d.oid
  from pg_control_system() s, pg_control_checkpoint() c, pg_database d
 where d.datname = current_database()

-- name: traces_of_work
-- What the database tells of its own past, locked against another process that looks at the same time.
select d.incarnation, d.restored_from, (select max(worked_at) from lane) as worked_at,
       extract(epoch from clock_timestamp() - (select max(worked_at) from lane))::float8 as idle_seconds,
       extract(epoch from clock_timestamp() - d.restored_from)::float8 as restored_seconds
  from deployment d for update

-- name: set_incarnation
-- What this database is now, and from when on its past is not all there; null where nothing is missing.
update deployment set incarnation = $1, restored_from = $2

-- name: forget_traces
-- The past of this database is all there, says an operator.
update lane set worked_at = clock_timestamp() where worked_at is not null

-- name: pause_suspected
-- Stops the claiming of backfills with videos that may have been bought without this database knowing.
with paused as (
  update backfill b set paused_at = clock_timestamp(), pause_reason = $2
   where b.paused_at is null
     and exists (select from video v where v.backfill_id = b.id and v.registered_at <= $1
                    and (v.state = 'pending' or v.state = 'active' and v.job_id is null))
  returning b.name
), written as (
  insert into audit (who, action, backfill, detail)
  select 'modworker', 'pause', name, jsonb_build_object('reason', $2::text) from paused
)
select name from paused

-- name: unsettled_since
-- Videos that may have been bought without this database knowing: not bought here, and registered before that moment.
select count(*) from (
  select from video
   where registered_at <= $1 and (state = 'pending' or state = 'active' and job_id is null) limit $2) unsettled

-- name: mark_uncertain
-- Some of those videos -> uncertain: only an operator's word buys them.
with marked as (
  update video v
     set state = 'uncertain', reason = $3, settled_at = clock_timestamp(), reserved_usd = 0
    from (select id, state as before, reserved_usd from video
           where registered_at <= $1 and (state = 'pending' or state = 'active' and job_id is null)
           order by id limit $2 for update) old
   where v.id = old.id
  returning v.backfill_id, v.lane_id, old.before, old.reserved_usd
), change as (
  select backfill_id, lane_id, count(*) as videos, count(*) filter (where before = 'pending') as pending,
         sum(reserved_usd) as reserved_usd
    from marked group by 1, 2
), counted as (
  update tally t
     set pending = t.pending - c.pending, active = t.active - (c.videos - c.pending),
         uncertain = t.uncertain + c.videos, reserved_usd = t.reserved_usd - c.reserved_usd
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select count(*) from marked

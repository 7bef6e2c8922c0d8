-- name: stopped_videos
-- A backfill's videos that ended without labels, from a position on, with the latest job of each one's identity; all,
-- or those of the given ids.
select v.id, v.lane_id, v.state, v.generation, v.job_id, coalesce(v.size_bytes, j.size_bytes) as size_bytes,
       coalesce(v.duration_ms, j.duration_ms) as duration_ms, l.id as latest_id, l.generation as latest_generation,
       l.state as latest_state, l.failed_at_aws, l.aws_job_id is not null as is_started, l.reason as latest_reason,
       extract(epoch from clock_timestamp() - l.started_at)::float8 as age_seconds
  from video v
  left join job j on j.id = v.job_id
  left join lateral (select * from job where identity = j.identity order by generation desc limit 1) l on true
 where v.backfill_id = $1 and v.id > $2 and v.state in ('failed', 'skipped', 'uncertain', 'expired')
   and ($4::bigint[] is null or v.id = any($4))
 order by v.id
 limit $3

-- name: lock_tallies_of_retry
-- The tallies that a retry moves figures of: the backfill's own, and those of whoever else has to do with these jobs.
-- Whoever purges locks the tallies too, and is seen from then on.
select t.backfill_id, t.lane_id from tally t
 where t.backfill_id = $1
    or (t.backfill_id, t.lane_id) in (select v.backfill_id, v.lane_id from video v where v.job_id = any($2::bigint[]))
    or (t.backfill_id, t.lane_id) in (select j.backfill_id, j.lane_id from job j where j.id = any($2::bigint[]))
 order by t.backfill_id, t.lane_id
   for no key update of t

-- name: retry_stopped
-- failed, skipped, uncertain or expired -> pending, in the generation that is given, behind the other pending videos.
with retried as (
  update video v
     set state = 'pending', generation = r.generation, job_id = null, claims = 0, claimed_at = null,
         settled_at = null, reason = null, claim_order = nextval('video_claim_order')
    from unnest($1::bigint[], $2::smallint[]) as r (id, generation)
    join (select id, state from video where id = any($1) and state in ('failed', 'skipped', 'uncertain', 'expired')
           order by id for update) old using (id)
   where v.id = r.id
  returning v.backfill_id, v.lane_id, old.state
), change as (
  select backfill_id, lane_id, count(*) as videos,
         count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'skipped') as skipped,
         count(*) filter (where state = 'uncertain') as uncertain, count(*) filter (where state = 'expired') as expired
    from retried group by 1, 2
), counted as (
  update tally t
     set pending = t.pending + c.videos, failed = t.failed - c.failed, skipped = t.skipped - c.skipped,
         uncertain = t.uncertain - c.uncertain, expired = t.expired - c.expired
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select count(*) from retried

-- name: read_again_if_failed
-- failed -> ready from page 1 for jobs whose result AWS still has; all their videos wait for it again. What was spent
-- is reserved until it is known anew; a job whose buyer is purged, or going, becomes that of the backfill that asks.
with going as (
  select id from backfill where purging_at is not null
), old as (
  select j.id, j.lane_id, j.cost_usd, j.backfill_id as payer_id,
         case when j.backfill_id not in (select id from going) then j.backfill_id end as buyer_id
    from job j where j.id = any($1::bigint[]) and j.state = 'failed'
), dropped as (
  delete from detection d using old o where d.job_id = o.id
), aside as (
  delete from page_aside a using old o where a.job_id = o.id
), reopened as (
  update job j
     set state = 'ready', ready_at = coalesce(j.ready_at, clock_timestamp()), settled_at = null, reason = null,
         next_page = 1, next_token = null, page_token_at = null, digest = null, detections = 0,
         reserved_usd = o.cost_usd, cost_usd = 0, backfill_id = coalesce(o.buyer_id, $2),
         video_id = case when o.buyer_id is not null then j.video_id
                         else (select min(v.id) from video v where v.job_id = o.id and v.backfill_id = $2) end
    from old o where j.id = o.id
  returning j.id, j.backfill_id, j.lane_id, j.reserved_usd
), waiting as (
  update video v set state = 'active', settled_at = null, reason = null
    from (select v.id, v.state from video v join old o on v.job_id = o.id where v.state in ('failed', 'skipped') and v.backfill_id not in (select id from going)
           order by v.id for update of v) stopped
   where v.id = stopped.id
  returning v.backfill_id, v.lane_id, stopped.state
), change as (
  select backfill_id, lane_id, sum(failed) as failed, sum(skipped) as skipped, sum(reserved_usd) as reserved_usd,
         sum(spent_usd) as spent_usd
    from (select backfill_id, lane_id, 0 as failed, 0 as skipped, reserved_usd, 0 as spent_usd from reopened
          union all
          select payer_id, lane_id, 0, 0, 0, cost_usd from old
          union all
          select backfill_id, lane_id, (state = 'failed')::int, (state = 'skipped')::int, 0, 0 from waiting) parts
   group by 1, 2
), counted as (
  update tally t
     set active = t.active + c.failed + c.skipped, failed = t.failed - c.failed, skipped = t.skipped - c.skipped,
         reserved_usd = t.reserved_usd + c.reserved_usd, spent_usd = t.spent_usd - c.spent_usd
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select count(*) from waiting where backfill_id = $2

-- name: is_being_purged
-- Asked after the tallies are locked: a statement sees what was committed when it began.
select coalesce((select purging_at is not null from backfill where id = $1), true)

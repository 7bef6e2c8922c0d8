-- `(select 'active')` keeps the planner from looking rows that are named up by their state (docs/decisions.md).

-- name: claimable_backfills
-- The backfills with pending videos for a lane, the most urgent first.
select b.* from backfill b
  join tally t on t.backfill_id = b.id
 where t.lane_id = $1 and t.pending > 0 and b.paused_at is null and b.cancelled_at is null
 order by b.priority desc, b.id

-- name: longest_queue
-- The longest queue that another lane of the region has, in the most urgent backfill that has one of so many videos.
select t.backfill_id, t.lane_id, t.pending
  from tally t
  join lane l on l.id = t.lane_id
  join backfill b on b.id = t.backfill_id
 where t.lane_id <> $1 and l.region = (select region from lane where id = $1)
   and t.pending >= $2 and b.paused_at is null and b.cancelled_at is null
 order by b.priority desc, t.pending desc
 limit 1

-- name: add_tally
-- A lane's first part in a backfill.
insert into tally (backfill_id, lane_id) values ($1, $2) on conflict do nothing

-- name: lock_tallies_if_owner
-- Two lanes' tallies of a backfill, in one order for everybody; none for a process that lost the lane.
select t.lane_id, t.pending
  from tally t
 where t.backfill_id = $1 and t.lane_id in ($2, $3)
   and exists (select from lane where id = $2 and holder = $4 and epoch = $5 for key share)
 order by t.lane_id
   for no key update of t

-- name: move_pending
-- Moves the last videos of a queue to another lane's; those that were taken up before stay where they are suspected.
with picked as (
  select id from video
   where lane_id = $3 and backfill_id = $1 and state = 'pending' and claims = 0
   order by claim_order desc
   limit $4
     for update skip locked
), moved as (
  update video v set lane_id = $2 from picked p where v.id = p.id returning v.id
), counted as (
  update tally t set pending = t.pending + case t.lane_id when $2 then c.videos else -c.videos end
    from (select count(*) as videos from moved) c
   where t.backfill_id = $1 and t.lane_id in ($2, $3)
)
select count(*) from moved

-- name: lock_tally_if_owner
-- Serialises the money decisions of one lane and backfill; nothing comes back to a process that lost the lane, and
-- nobody takes the lane before the decision is committed (a renewal need not wait).
select t.allowance_usd, t.reserved_usd, t.spent_usd, b.budget_usd
  from tally t
  join lane l on l.id = t.lane_id
  join backfill b on b.id = t.backfill_id
 where t.backfill_id = $1 and t.lane_id = $2 and l.holder = $3 and l.epoch = $4
   for no key update of t
   for key share of l, b

-- name: is_another_lane_overrun
-- Whether another lane holds more than it was allowed, since its jobs turned out dearer than expected: then what this
-- one was allowed may not be there any more. To be asked after the tally's lock.
select exists (select from tally where backfill_id = $1 and lane_id <> $2 and spent_usd + reserved_usd > allowance_usd)

-- name: lock_budget
-- A backfill's budget; the lock serialises the top-ups of its lanes.
select budget_usd from backfill where id = $1 for no key update

-- name: held_by_other_lanes
-- What other lanes hold of a budget. To be asked after the lock: a statement sees what was committed when it began.
select coalesce(sum(greatest(allowance_usd, spent_usd + reserved_usd)), 0)
  from tally where backfill_id = $1 and lane_id <> $2

-- name: reclaim_allowances
-- Takes back what other lanes were allowed and do not use, except from those that are deciding just now.
with idle as (
  select backfill_id, lane_id from tally
   where backfill_id = $1 and lane_id <> $2 and allowance_usd > spent_usd + reserved_usd
     for no key update skip locked
)
update tally t set allowance_usd = t.spent_usd + t.reserved_usd
  from idle i where t.backfill_id = i.backfill_id and t.lane_id = i.lane_id

-- name: set_allowance
-- The lane's share of a budget.
update tally set allowance_usd = $3 where backfill_id = $1 and lane_id = $2

-- name: pick_pending
-- The next pending videos of a backfill on a lane, from a position on; none once it was paused or cancelled.
select id, bucket, key, version_id, etag, size_bytes, duration_ms, generation, claims, claim_order
  from video
 where lane_id = $1 and backfill_id = $2 and state = 'pending' and claim_order > $3
   and exists (select from backfill where id = $2 and paused_at is null and cancelled_at is null)
 order by claim_order
 limit $4
   for update skip locked

-- name: take_picked
-- pending -> active for the picked videos, with their reservations.
with taken as (
  update video v
     set state = 'active', claimed_at = clock_timestamp(), claims = v.claims + 1,
         reserved_usd = p.reserved_usd
    from unnest($1::bigint[], $2::numeric[]) as p (id, reserved_usd)
   where v.id = p.id
  returning v.reserved_usd
), change as (
  select count(*) as videos, coalesce(sum(reserved_usd), 0) as reserved_usd from taken
)
update tally t
   set pending = t.pending - c.videos, active = t.active + c.videos, reserved_usd = t.reserved_usd + c.reserved_usd
  from change c
 where t.backfill_id = $3 and t.lane_id = $4

-- name: return_claimed_if_jobless
-- active -> pending for claimed videos that have no job, but for those in hand; the reservation goes with them. Nothing
-- for a process that lost the lane: it would return what the new owner has in hand.
with owner as (
  select id from lane where id = $1 and holder = $5 and epoch = $6 for key share
), returned as (
  update video v
     set state = 'pending', claimed_at = null, reserved_usd = 0, claims = v.claims - $4::smallint
    from (select id, reserved_usd from video
           where lane_id = (select id from owner) and state = 'active' and job_id is null
             and ($2::bigint[] is null or id = any($2)) and id <> all($3::bigint[])
           order by id for update) old
   where v.id = old.id
  returning v.backfill_id, v.lane_id, old.reserved_usd
), change as (
  select backfill_id, lane_id, count(*) as videos, sum(reserved_usd) as reserved_usd from returned group by 1, 2
), counted as (
  update tally t
     set pending = t.pending + c.videos, active = t.active - c.videos, reserved_usd = t.reserved_usd - c.reserved_usd
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select count(*) from returned

-- name: settle_claimed_if_jobless
-- active -> skipped or failed, with a reason, for videos that need no job to be judged.
with settled as (
  update video v
     set state = s.state, reason = s.reason, settled_at = clock_timestamp(), reserved_usd = 0
    from unnest($1::bigint[], $2::text[], $3::text[]) as s (id, state, reason)
    join (select id, reserved_usd from video where id = any($1) and state = (select 'active') and job_id is null
           order by id for update) old using (id)
   where v.id = s.id
  returning v.backfill_id, v.lane_id, v.state, old.reserved_usd
), change as (
  select backfill_id, lane_id, count(*) as videos, sum(reserved_usd) as reserved_usd,
         count(*) filter (where state = 'skipped') as skipped, count(*) filter (where state = 'failed') as failed
    from settled group by 1, 2
)
update tally t
   set active = t.active - c.videos, skipped = t.skipped + c.skipped, failed = t.failed + c.failed,
       reserved_usd = t.reserved_usd - c.reserved_usd
  from change c
 where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id

-- name: lock_claimed
-- The claimed videos that still have no job, locked, with what they reserve.
select id, reserved_usd from video
 where id = any($1) and state = (select 'active') and job_id is null
 order by id
   for update

-- name: lock_jobs_of_identities
-- Jobs that are there already: none of them may settle between the look at its state and the attaching of a video.
select id from job where identity = any($1) order by id for share

-- name: add_intents_if_new
-- The intent to buy; an identity that is known already in this generation, or a later one, is not bought again.
insert into job (video_id, identity, generation, tag, token, bucket, key, version_id, etag, size_bytes, reserved_usd,
                 lane_id, channel_id, backfill_id, min_confidence, aggregate_by)
select i.video_id, i.identity, i.generation, i.tag, i.token, i.bucket, i.key, i.version_id, i.etag, i.size_bytes,
       i.reserved_usd, $12, $13, $14, $15, $16
  from unnest($1::bigint[], $2::bytea[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::bigint[], $11::numeric[])
    as i (video_id, identity, generation, tag, token, bucket, key, version_id, etag, size_bytes, reserved_usd)
 where not exists (select from job j where j.identity = i.identity and j.generation > i.generation)
 order by i.video_id
on conflict (identity, generation) do nothing

-- name: attach_videos
-- Ties claimed videos to the latest jobs of their identities: to the one they bought, or to one that is there already,
-- with which they settle, at once if it has settled. Moves the reservations from the videos to the jobs.
with attached as (
  update video v
     set job_id = j.id, generation = j.generation, claims = 0, reserved_usd = 0, size_bytes = j.size_bytes,
         state = case when j.state in ('intent', 'running', 'ready') then 'active' else j.state end,
         reason = j.reason,
         settled_at = case when j.state in ('intent', 'running', 'ready') then null else clock_timestamp() end
    from unnest($1::bigint[], $2::bytea[]) as a (id, identity)
    join video old using (id)
   cross join lateral (select * from job where identity = a.identity order by generation desc limit 1) j
   where v.id = old.id and v.state = (select 'active') and v.job_id is null
  returning v.backfill_id, v.lane_id, v.state, j.detections, old.reserved_usd as released_usd,
            case when j.video_id = v.id and j.state = 'intent' then j.reserved_usd else 0 end as bought_usd
), change as (
  select backfill_id, lane_id,
         count(*) filter (where state <> 'active') as settled,
         count(*) filter (where state = 'done') as done,
         count(*) filter (where state = 'failed') as failed,
         count(*) filter (where state = 'uncertain') as uncertain,
         count(*) filter (where state = 'expired') as expired,
         coalesce(sum(detections) filter (where state = 'done'), 0) as labels,
         sum(bought_usd - released_usd) as reserved_usd
    from attached group by 1, 2
)
update tally t
   set active = t.active - c.settled, done = t.done + c.done, failed = t.failed + c.failed,
       uncertain = t.uncertain + c.uncertain, expired = t.expired + c.expired, labels = t.labels + c.labels,
       reserved_usd = t.reserved_usd + c.reserved_usd
  from change c
 where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id

-- name: intents_of_videos
-- Intents that these videos bought and that are still to be started: just now, or in a commit whose answer was lost.
select j.id, j.tag, j.token, j.bucket, j.key, j.version_id, j.min_confidence, c.id as channel_id, c.topic_arn, c.role_arn,
       extract(epoch from clock_timestamp() - j.intent_at)::float8 as age_seconds
  from video v
  join job j on j.id = v.job_id
  join channel c on c.id = j.channel_id
 where v.id = any($1) and j.video_id = v.id and j.state = (select 'intent')
 order by v.claim_order

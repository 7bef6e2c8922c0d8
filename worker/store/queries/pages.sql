-- `(select 'ready')` keeps the planner from looking rows that are named up by their state (docs/decisions.md).

-- name: lock_jobs
-- Locks in the order of ids, so that two writers of the same jobs wait for each other instead of deadlocking. A
-- statement of its own: the next one sees what whoever held the lock has committed, such as a video just attached.
select id from job where id = any($1) order by id for no key update

-- name: accept_pages
-- The compare-and-set of the cursors: only pages that come next are accepted, and of the reading that is written so
-- far. After a page token's end AWS may cut the pages otherwise: those of two readings would lose and double labels.
update job j
   set next_page = p.last_number + 1, next_token = p.next_token, page_token_at = clock_timestamp(), digest = p.digest,
       detections = j.detections + p.detections, model_version = coalesce(p.model_version, j.model_version),
       duration_ms = coalesce(p.duration_ms, j.duration_ms), metadata = coalesce(p.metadata::jsonb, j.metadata)
  from unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::bytea[], $6::bigint[], $7::text[], $8::bigint[],
              $9::text[], $10::bytea[])
    as p (id, first_number, last_number, next_token, digest, detections, model_version, duration_ms, metadata, follows)
 where j.id = p.id and j.state = (select 'ready') and j.next_page = p.first_number and coalesce(j.digest, '') = p.follows
returning j.id

-- name: find_labels
-- The entries of the dictionary for these names, as far as it has them.
select l.id, l.name, l.parent_name, l.taxonomy_level
  from unnest($1::text[], $2::text[], $3::smallint[]) as n (name, parent_name, taxonomy_level)
  join label l on l.name = n.name and l.parent_name = n.parent_name
              and l.taxonomy_level is not distinct from n.taxonomy_level

-- name: add_labels_if_new
-- Adds labels to the dictionary: asked only for those that were looked for and missing, or the numbers run out.
insert into label (name, parent_name, taxonomy_level)
select n.name, n.parent_name, n.taxonomy_level
  from unnest($1::text[], $2::text[], $3::smallint[]) as n (name, parent_name, taxonomy_level)
 where not exists (select from label l where l.name = n.name and l.parent_name = n.parent_name
                      and l.taxonomy_level is not distinct from n.taxonomy_level)
on conflict (name, parent_name, taxonomy_level) do nothing

-- name: settle_done
-- ready -> done for jobs whose last page is written, with their label summaries, videos, true cost and tallies.
with old as (
  select id, backfill_id, lane_id, reserved_usd, detections from job
   where id = any($1) and state = (select 'ready')
), settled as (
  update job j
     set state = 'done', settled_at = clock_timestamp(), reserved_usd = 0,
         cost_usd = round(coalesce(j.duration_ms, 0) / 60000.0 * b.price_usd_per_minute, 6)
    from old o, backfill b
   where j.id = o.id and b.id = o.backfill_id
  returning j.id, j.cost_usd
), summarised as (
  insert into job_label (job_id, label_id, detections, highest_confidence, first_ms, last_ms)
  select job_id, label_id, count(*), max(confidence), min(coalesce(timestamp_ms, start_ms)),
         max(coalesce(end_ms, timestamp_ms))
    from detection where job_id in (select id from old) group by job_id, label_id
), finished as (
  update video v set state = 'done', settled_at = clock_timestamp(), reason = null
    from old o where v.job_id = o.id and v.state = 'active'
  returning v.backfill_id, v.lane_id, o.detections
), change as (
  select backfill_id, lane_id, sum(videos) as videos, sum(labels) as labels, sum(reserved_usd) as reserved_usd,
         sum(spent_usd) as spent_usd
    from (select o.backfill_id, o.lane_id, 0 as videos, 0 as labels, o.reserved_usd, s.cost_usd as spent_usd
            from old o join settled s using (id)
          union all
          select backfill_id, lane_id, 1, detections, 0, 0 from finished) parts
   group by 1, 2
), counted as (
  update tally t
     set active = t.active - c.videos, done = t.done + c.videos, labels = t.labels + c.labels,
         reserved_usd = t.reserved_usd - c.reserved_usd, spent_usd = t.spent_usd + c.spent_usd
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select count(*) from settled

-- name: settle_without_labels
-- A job's lasting end without labels: its videos end with it, or wait for a further generation where one is allowed.
-- What AWS has finished and did not call FAILED is paid, labels or none: at its true minutes, else at what was reserved.
with old as (
  select j.id, j.backfill_id, j.lane_id, j.reserved_usd,
         case when j.state <> 'ready' or $6::boolean then 0
              else coalesce(round(j.duration_ms / 60000.0 * b.price_usd_per_minute, 6), j.reserved_usd) end as cost_usd
    from job j join backfill b on b.id = j.backfill_id
   where j.id = $1 and j.state in ('intent', 'running', 'ready') for no key update of j
), settled as (
  update job j
     set state = $2, reason = $3, settled_at = clock_timestamp(), reserved_usd = 0, next_token = null,
         failed_at_aws = $6 and j.aws_job_id is not null, cost_usd = old.cost_usd
    from old where j.id = old.id
), moved as (
  update video v
     set state = m.state,
         reason = case when m.state = 'pending' then null else $3 end,
         settled_at = case when m.state = 'pending' then null else clock_timestamp() end,
         job_id = case when m.state = 'pending' then null else v.job_id end,
         generation = case when m.state = 'pending' then v.generation + 1 else v.generation end,
         claim_order = case when m.state = 'pending' then nextval('video_claim_order') else v.claim_order end
    from (select v.id, case when $5::boolean and v.generation < b.max_generations then 'pending' else $4 end as state
            from video v join old on v.job_id = old.id join backfill b on b.id = v.backfill_id
           where v.state = 'active' order by v.id for update of v) m
   where v.id = m.id
  returning v.backfill_id, v.lane_id, v.state
), change as (
  select backfill_id, lane_id, sum(videos) as videos, sum(pending) as pending, sum(failed) as failed,
         sum(skipped) as skipped, sum(uncertain) as uncertain, sum(expired) as expired, sum(reserved_usd) as reserved_usd,
         sum(spent_usd) as spent_usd
    from (select backfill_id, lane_id, 0 as videos, 0 as pending, 0 as failed, 0 as skipped, 0 as uncertain,
                 0 as expired, reserved_usd, cost_usd as spent_usd from old
          union all
          select backfill_id, lane_id, 1, (state = 'pending')::int, (state = 'failed')::int, (state = 'skipped')::int,
                 (state = 'uncertain')::int, (state = 'expired')::int, 0, 0 from moved) parts
   group by 1, 2
), counted as (
  update tally t
     set active = t.active - c.videos, pending = t.pending + c.pending, failed = t.failed + c.failed,
         skipped = t.skipped + c.skipped, uncertain = t.uncertain + c.uncertain, expired = t.expired + c.expired,
         reserved_usd = t.reserved_usd - c.reserved_usd, spent_usd = t.spent_usd + c.spent_usd
    from change c
   where t.backfill_id = c.backfill_id and t.lane_id = c.lane_id
)
select state from moved

-- name: keep_page_aside
-- The page that a job failed for, kept where an operator can see it; one a job, 1,000 at most a lane.
insert into page_aside (job_id, number, lane_id, reason, size_bytes, body)
select id, $2, lane_id, $3, $4, $5
  from job j
 where id = $1 and state = 'failed' and (select count(*) from page_aside a where a.lane_id = j.lane_id) < 1000
on conflict (job_id) do nothing

-- name: drop_pages
-- Forgets what was read of a job that is not settled, to read it again from page 1.
with reset as (
  update job set next_page = 1, next_token = null, page_token_at = null, digest = null, detections = 0
   where id = $1 and state = (select 'ready') returning id
)
delete from detection d using reset r where d.job_id = r.id

-- name: backfill_reports
-- Every backfill with its tallies, the newest first.
select b.name, b.priority, b.pause_reason, b.cancelled_at is not null as is_cancelled,
       b.purging_at is not null as is_purging, b.budget_usd::float8 as budget_usd,
       coalesce(sum(t.pending), 0)::bigint as pending, coalesce(sum(t.active), 0)::bigint as active,
       coalesce(sum(t.done), 0)::bigint as done, coalesce(sum(t.failed), 0)::bigint as failed,
       coalesce(sum(t.skipped), 0)::bigint as skipped, coalesce(sum(t.uncertain), 0)::bigint as uncertain,
       coalesce(sum(t.expired), 0)::bigint as expired, coalesce(sum(t.labels), 0)::bigint as labels,
       coalesce(sum(t.spent_usd), 0)::float8 as spent_usd, coalesce(sum(t.reserved_usd), 0)::float8 as reserved_usd
  from backfill b left join tally t on t.backfill_id = b.id
 group by b.id
 order by b.id desc

-- name: failures_by_reason
-- How many videos ended without labels, by backfill and reason.
select b.name, f.reason, f.videos
  from (select backfill_id, reason, count(*) as videos from video
         where state in ('failed', 'skipped', 'uncertain', 'expired') group by 1, 2) f
  join backfill b on b.id = f.backfill_id
 order by b.name, f.videos desc

-- name: settled_lately
-- Videos of each backfill settled in the last ten minutes, for the time left.
select b.name, count(*) as videos, extract(epoch from clock_timestamp() - min(v.settled_at))::float8 as seconds
  from job j join video v on v.job_id = j.id join backfill b on b.id = v.backfill_id
 where j.state = 'done' and j.settled_at > statement_timestamp() - interval '10 minutes'
   and j.lane_id in (select id from lane)
 group by b.name

-- name: lane_reports
-- Every lane with its owner and what the owner last said of it.
select l.id, l.name, l.region, l.account_id, l.epoch, l.report,
       case when l.expires_at > clock_timestamp() then l.holder_name end as owner
  from lane l order by l.name

-- name: running_jobs
-- How many jobs run on each lane.
select l.name, (select count(*) from job j where j.lane_id = l.id and j.state = 'running') as jobs from lane l

-- name: labels_of_object
-- One video's settled labels as they appear.
select timestamp_ms, start_ms, end_ms, name, parent_name, taxonomy_level, confidence, model_version
  from moderation_labels
 where bucket = $1 and key = $2
   and backfill = (select backfill from video_status
                    where bucket = $1 and key = $2 and state = 'done' order by settled_at desc limit 1)
 order by coalesce(timestamp_ms, start_ms), taxonomy_level, name

-- name: states_of_object
-- What became of a video, in every backfill that names it.
select backfill, state, reason, labels, duration_ms, cost_usd::float8 as cost_usd, settled_at
  from video_status where bucket = $1 and key = $2 order by settled_at desc nulls last

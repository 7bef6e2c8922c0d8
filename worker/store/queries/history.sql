-- name: past_of_backfill
-- What became of a backfill's videos (of all backfills' for null), and the moment at which this is true.
select clock_timestamp() as at,
       coalesce(sum(done), 0)::bigint as done, coalesce(sum(failed), 0)::bigint as failed,
       coalesce(sum(skipped), 0)::bigint as skipped,
       coalesce(sum(active + done + failed + skipped + uncertain + expired), 0)::bigint as taken_up
  from tally where $1::int is null or backfill_id = $1

-- name: latest_done
-- What the jobs took that brought labels, of a backfill (of all for null), those that were started last in front.
select size_bytes, duration_ms, detections as labels, next_page - 1 as pages,
       greatest(0, extract(epoch from ready_at - started_at))::float8 as seconds
  from job
 where state = 'done' and duration_ms is not null and ($1::int is null or backfill_id = $1)
 order by id desc limit $2

-- name: started_jobs
-- Jobs of some lanes that were started and are not settled. For so long as the lane had an owner, their end would have
-- been heard of. Two selects, since each state has an index of its own.
select l.name as lane, j.size_bytes, j.state, j.detections as labels, j.next_page - 1 as pages,
       coalesce(j.duration_ms, (select duration_ms from video where id = j.video_id)) as duration_ms,
       coalesce(j.backfill_id = $2, false) as is_own,
       extract(epoch from clock_timestamp() - j.started_at)::float8 as age_seconds,
       extract(epoch from coalesce(l.worked_at, clock_timestamp()) - j.started_at)::float8 as seen_seconds
  from lane l
 cross join lateral (select * from job where lane_id = l.id and state = 'running'
                     union all
                     select * from job where lane_id = l.id and state = 'ready') j
 where l.name = any($1)

-- name: census_of_backfill
-- A backfill's videos that are still to be started (pending, claimed, intended), by lane and by what is known of their
-- length, in classes of about equally long ones.
with waiting as (
  select lane_id, size_bytes, duration_ms from video where backfill_id = $1 and state = 'pending'
  union all
  select lane_id, size_bytes, duration_ms from video where backfill_id = $1 and state = 'active' and job_id is null
  union all
  select v.lane_id, v.size_bytes, v.duration_ms
    from job j join video v on v.job_id = j.id where j.state = 'intent' and v.backfill_id = $1
), classes as (
  select lane_id, duration_ms is not null as is_timed, duration_ms is null and size_bytes is not null as is_sized,
         floor(ln(coalesce(duration_ms, size_bytes, 0) + 1) * 12) as class,
         count(*) as videos, sum(coalesce(duration_ms, size_bytes, 0))::bigint as total
    from waiting
   group by 1, 2, 3, 4
)
select l.name as lane, l.region, c.videos, c.total,
       case when is_timed then 'duration_ms' when is_sized then 'size_bytes' else 'nothing' end as known
  from classes c join lane l on l.id = c.lane_id

-- name: queues_beside
-- By lane, what other backfills have pending: of a higher priority, and of the same.
select l.name as lane,
       coalesce(sum(t.pending) filter (where b.priority > $2), 0)::bigint as urgent,
       coalesce(sum(t.pending) filter (where b.priority = $2), 0)::bigint as equal
  from tally t join lane l on l.id = t.lane_id join backfill b on b.id = t.backfill_id
 where b.paused_at is null and b.cancelled_at is null and ($1::int is null or b.id <> $1)
 group by l.name

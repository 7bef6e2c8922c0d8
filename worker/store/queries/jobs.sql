-- `(select 'ready')` keeps the planner from looking rows that are named up by their state (docs/decisions.md).

-- name: intents_of_lane
-- Jobs that were meant to be started and whose JobId is not known: to be replayed, oldest first.
select j.id, j.tag, j.token, j.bucket, j.key, j.version_id, j.min_confidence, c.id as channel_id, c.topic_arn, c.role_arn,
       extract(epoch from clock_timestamp() - j.intent_at)::float8 as age_seconds
  from job j join channel c on c.id = j.channel_id
 where j.lane_id = $1 and j.state = 'intent'
 order by j.intent_at, j.id

-- name: move_intent_to_channel
-- The channel under which AWS knows the token, once found.
update job set channel_id = $2 where id = $1 and state = (select 'intent')

-- name: confirm_starts
-- intent -> running, with the JobId. A fact: true whoever records it, and how often.
update job j
   set aws_job_id = c.aws_job_id, state = 'running', started_at = clock_timestamp(),
       due_at = clock_timestamp() + make_interval(secs => c.due_seconds)
  from unnest($1::bigint[], $2::text[], $3::text[], $4::float8[]) as c (id, tag, aws_job_id, due_seconds)
 where j.id = c.id and j.tag = c.tag and j.state = (select 'intent')

-- name: running_jobs_of_lane
-- The jobs of a lane that AWS is working on, as far as is known.
select id from job where lane_id = $1 and state = 'running'

-- name: mark_finished
-- running -> ready for the jobs that notices name; tells which of the JobIds are known here at all.
with known as (
  select id, aws_job_id from job where lane_id = $1 and aws_job_id = any($2)
), marked as (
  update job j set state = 'ready', ready_at = clock_timestamp(), is_noticed = true
    from known k where j.id = k.id and j.state = (select 'running')
  returning j.id
)
select k.id, k.aws_job_id, m.id is not null as is_marked from known k left join marked m on m.id = k.id

-- name: mark_overdue
-- running -> ready for jobs whose notice is late: the answer to Get will tell. All, or those whose time came within so
-- many seconds. Bounds that are no volatile functions are looked up in the index.
update job set state = 'ready', ready_at = clock_timestamp()
 where id in (select id from job
               where lane_id = $1 and state = 'running' and due_at < statement_timestamp()
                 and due_at >= coalesce(statement_timestamp() - make_interval(secs => $3), '-infinity')
               order by due_at limit $2 for update skip locked)
returning id

-- name: wait_longer_if_unread
-- ready -> running for a job that is still in progress.
update job
   set state = 'running', ready_at = null, asked = least(asked + 1, 1000),
       due_at = clock_timestamp() + make_interval(secs => $2)
 where id = $1 and state = (select 'ready') and next_page = 1

-- name: ready_jobs
-- Jobs whose pages wait, those whose results expire first in front, without those in hand.
select id, aws_job_id, tag, bucket, key, version_id, etag, aggregate_by, next_page, next_token, digest, detections,
       asked, extract(epoch from clock_timestamp() - started_at)::float8 as age_seconds,
       extract(epoch from clock_timestamp() - page_token_at)::float8 as page_token_age_seconds
  from job
 where lane_id = $1 and state = 'ready' and id <> all($2::bigint[])
 order by started_at
 limit $3

-- name: ready_jobs_of
-- Those of these jobs whose pages wait.
select id, aws_job_id, tag, bucket, key, version_id, etag, aggregate_by, next_page, next_token, digest, detections,
       asked, extract(epoch from clock_timestamp() - started_at)::float8 as age_seconds,
       extract(epoch from clock_timestamp() - page_token_at)::float8 as page_token_age_seconds
  from job
 where lane_id = $1 and id = any($2) and state = (select 'ready')
 order by started_at

-- name: usual_times
-- What this lane's latest jobs took: a high quantile of their seconds, and of their minutes of video a gigabyte.
-- Only a notice tells when a job was finished; one that was asked for was finished some time before.
select count(*) as jobs, count(seconds) as noticed_jobs,
       percentile_cont(0.95) within group (order by seconds) as seconds,
       percentile_cont(0.9) within group (order by minutes_per_gb) as minutes_per_gb,
       avg(pages)::float8 as pages
  from (select next_page - 1 as pages,
               case when is_noticed then extract(epoch from ready_at - started_at) end::float8 as seconds,
               case when size_bytes > 0 then duration_ms / 60000.0 / (size_bytes / 1e9) end::float8 as minutes_per_gb
          from job
         where lane_id = $1 and state = 'done'
         order by settled_at desc
         limit 200) latest

-- name: unread_results
-- Jobs of a lane whose pages wait, now or as soon as they are finished.
select (select count(*) from job where lane_id = $1 and state = 'running')
     + (select count(*) from job where lane_id = $1 and state = 'ready')

-- name: quarantine_notice
-- A message that nobody could read, kept where an operator can see it: each once, $5 at most a lane. A row if it is
-- kept, none if there is no room.
insert into notice_quarantine (lane_id, message_id, body, reason)
select $1, $2, $3, $4
 where exists (select from notice_quarantine where lane_id = $1 and message_id = $2)
    or (select count(*) from notice_quarantine where lane_id = $1) < $5
on conflict (lane_id, message_id) do update set reason = excluded.reason
returning true

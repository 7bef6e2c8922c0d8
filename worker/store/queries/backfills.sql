-- name: find_backfill
-- A backfill by its name.
select * from backfill where name = $1

-- name: add_backfill_if_new
-- Registers a backfill, unless the name is taken; looks first, or every try would use up a number.
insert into backfill (name, priority, min_confidence, edition, aggregate_by, price_usd_per_minute,
                      expected_minutes_per_gb, budget_usd, budget_rule, max_generations)
select $1, $2, $3, $4, $5, $6::float8::numeric, $7, $8::float8::numeric, $9, $10
 where not exists (select from backfill where name = $1)
on conflict (name) do nothing
returning id

-- name: set_priority
-- Changes a backfill's priority.
update backfill set priority = $2 where name = $1

-- name: reset_allowances
-- Takes back what the lanes were allowed, before the budget changes; claims wait, and see the new one.
update tally set allowance_usd = 0 where backfill_id = (select id from backfill where name = $1)

-- name: set_budget
-- Changes a backfill's budget.
update backfill set budget_usd = $2::float8::numeric where name = $1

-- name: pause_backfill
-- Stops the claiming; what runs is finished. Twice is once: the first reason stands. Tells whether it was going.
with old as (
  select id, paused_at is null as was_going from backfill where name = $1 for no key update
), marked as (
  update backfill b set paused_at = clock_timestamp(), pause_reason = $2 from old where b.id = old.id and old.was_going
)
select was_going from old

-- name: cancel_backfill
-- What is pending is skipped from now on; what runs is finished. Twice is once. Tells whether it was going.
with old as (
  select id, cancelled_at is null as was_going from backfill where name = $1 for no key update
), marked as (
  update backfill b set cancelled_at = clock_timestamp() from old where b.id = old.id and old.was_going
)
select was_going from old

-- name: resume_backfill
-- Lets the claiming go on, unless the backfill is being purged; whoever resumes has seen the failures, and they count no
-- more. Tells what held it up.
with old as (
  select id, pause_reason, cancelled_at is not null as was_cancelled, purging_at is not null as is_purging
    from backfill where name = $1 for no key update
), counts as (
  select coalesce(sum(t.failed), 0) as failed, coalesce(sum(t.done + t.failed), 0) as outcomes
    from tally t where t.backfill_id = (select id from old)
), lifted as (
  update backfill b
     set paused_at = null, pause_reason = null, cancelled_at = null, failures_forgiven = c.failed,
         outcomes_forgiven = c.outcomes
    from old, counts c where b.id = old.id and not old.is_purging
)
select pause_reason, was_cancelled, is_purging from old

-- name: write_audit
-- A decision, by whom.
insert into audit (who, action, backfill, detail) values ($1, $2, $3, $4)

-- name: audit_entries
-- The decisions in the order of time: all, or those about one backfill.
select at, who, action, backfill, detail from audit where $1::text is null or backfill = $1 order by at, id

-- name: make_staging
-- Where the rows of a source wait for their insertion, until the transaction ends.
create temporary table staged_video (
  bucket text, key text, version_id text, etag text, size_bytes bigint, duration_ms bigint, lane_id smallint
) on commit drop

-- name: wait_for_turn_to_register
-- One transaction after the other inserts into a backfill: two that insert the same objects would wait for each other.
select pg_advisory_xact_lock(hashtext('modworker registers'), $1)

-- name: register_staged
-- Adds what is new of the staged rows to a backfill that is not being purged, and counts it in the tallies.
with added as (
  insert into video (backfill_id, bucket, key, version_id, etag, size_bytes, duration_ms, lane_id)
  select b.id, s.bucket, s.key, s.version_id, s.etag, s.size_bytes, s.duration_ms, s.lane_id
    from staged_video s join backfill b on b.id = $1 and b.purging_at is null
  on conflict (bucket, key, version_id, backfill_id) do nothing
  returning lane_id
), counted as (
  insert into tally (backfill_id, lane_id, pending)
  select $1, lane_id, count(*) from added group by lane_id
  on conflict (backfill_id, lane_id) do update set pending = tally.pending + excluded.pending
)
select count(*) from added

-- name: share_backfill_if_kept
-- Nobody begins to purge the backfill before this transaction ends. To be asked after the tallies are locked, as the
-- top-ups of budgets do.
select true from backfill where id = $1 and purging_at is null for share

-- name: progress_of_backfill
-- One backfill's tallies, summed over the lanes.
select coalesce(sum(t.pending), 0)::bigint as pending, coalesce(sum(t.active), 0)::bigint as active,
       coalesce(sum(t.done), 0)::bigint as done, coalesce(sum(t.failed), 0)::bigint as failed,
       coalesce(sum(t.skipped), 0)::bigint as skipped, coalesce(sum(t.uncertain), 0)::bigint as uncertain,
       coalesce(sum(t.expired), 0)::bigint as expired, coalesce(sum(t.labels), 0)::bigint as labels,
       coalesce(sum(t.spent_usd), 0)::float8 as spent_usd, coalesce(sum(t.reserved_usd), 0)::float8 as reserved_usd,
       b.pause_reason, b.cancelled_at is not null as is_cancelled, b.budget_usd::float8 as budget_usd,
       array_remove(array_agg(l.name) filter (where t.pending > 0), null) as lanes_pending,
       array_remove(array_agg(l.name) filter (where t.active > 0), null) as lanes_active
  from backfill b
  left join tally t on t.backfill_id = b.id
  left join lane l on l.id = t.lane_id
 where b.name = $1
 group by b.id

-- name: work_left
-- Videos that a worker on these lanes could still bring to an end.
select coalesce(sum(t.active + case when b.paused_at is null and b.cancelled_at is null then t.pending else 0 end), 0)::bigint
  from tally t
  join backfill b on b.id = t.backfill_id
  join lane l on l.id = t.lane_id
 where l.name = any($1)

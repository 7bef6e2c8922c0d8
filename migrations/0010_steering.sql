-- What an operator's word needs: who said that a job failed, jobs whose buyer is gone, backfills that are going.
-- serves: 0006

alter table backfill add column purging_at timestamptz;
comment on column backfill.purging_at is 'from then on nothing is registered into it, and its rows go';

alter table job add column failed_at_aws boolean not null default false;
comment on column job.failed_at_aws is 'AWS said FAILED: another generation cannot be paid twice';
alter table job add constraint job_failed_at_aws
  check (not failed_at_aws or (state = 'failed' and aws_job_id is not null)) not valid;

-- Until now only the reason told whether AWS or the worker had failed a job that was started.
update job set failed_at_aws = true
 where state = 'failed' and aws_job_id is not null
   and reason not like 'unreadable result%' and reason <> 'source changed while it was moderated';

alter table job alter column backfill_id drop not null;
alter table job alter column video_id drop not null;
comment on column job.backfill_id is 'null once the buyer was purged, while videos of other backfills are attached';
alter table job add constraint job_buyer check (backfill_id is not null or settled_at is not null) not valid;

create index video_stopped_in_order on video (backfill_id, id)
  where state in ('failed', 'skipped', 'uncertain', 'expired');

create function refuse_change_of_audit() returns trigger language plpgsql as $$
begin
  raise exception 'audit is append-only';
end $$;

create trigger audit_is_append_only before update or delete on audit
  for each statement execute function refuse_change_of_audit();

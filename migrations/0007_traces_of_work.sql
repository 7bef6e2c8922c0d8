-- When somebody last worked, so that a database older than AWS's memory of tokens is not worked on unawares.
-- serves: 0006
-- A backup that is restored knows nothing of the jobs that were bought after it was taken. Within the life of their
-- tokens they are found again for nothing; beyond it they would be bought again.

alter table lane add column worked_at timestamptz;

comment on column lane.worked_at is 'the latest renewal of a lease: the newest trace of work in this database';

alter table deployment
  add column incarnation text,
  add column restored_from timestamptz;

comment on column deployment.incarnation is 'which cluster, timeline and database this was when it was last worked on';
comment on column deployment.restored_from is
  'the newest trace of work at the time when this was found to be another incarnation; what was bought later is unknown here';

-- A video whose purchase is unknown here has no job to show for it.
alter table video drop constraint video_state;
alter table video add constraint video_state check (case state
    when 'pending' then job_id is null and settled_at is null and reason is null and reserved_usd = 0
    when 'active' then claimed_at is not null and settled_at is null and reason is null
                       and (job_id is null or reserved_usd = 0)
    when 'done' then job_id is not null and settled_at is not null and reason is null and reserved_usd = 0
    when 'failed' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'skipped' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'uncertain' then reason is not null and settled_at is not null and reserved_usd = 0
    when 'expired' then reason is not null and settled_at is not null and job_id is not null and reserved_usd = 0
    else false
  end) not valid;

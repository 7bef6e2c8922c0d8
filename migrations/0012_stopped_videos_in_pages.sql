-- Whoever follows a reason to its videos reads them page by page, however many there are.
-- serves: 0006

create index video_stopped_by_reason on video (backfill_id, reason, id)
  where state in ('failed', 'skipped', 'uncertain', 'expired');

drop index video_stopped;

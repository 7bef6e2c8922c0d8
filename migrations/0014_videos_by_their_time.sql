-- A search of a small backfill, or of a short time, begins with its videos; and so does an export of what is new.
-- serves: 0006

create index video_done on video (backfill_id, settled_at) include (job_id) where state = 'done';

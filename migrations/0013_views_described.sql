-- What views and columns mean is told where they are: clients show it, and docs/reference/views.md is made from it.
-- serves: 0006

comment on view moderation_labels is
  'a row for each label at each time, of videos that are done: all labels of a video or none';
comment on column moderation_labels.backfill is 'name of the backfill';
comment on column moderation_labels.bucket is 'S3 bucket of the object';
comment on column moderation_labels.key is 'key of the object within its bucket';
comment on column moderation_labels.version_id is
  'VersionId of the object, named by its source or found before the start; null where the bucket keeps no versions';
comment on column moderation_labels.aws_job_id is 'JobId: all rows of one moderation of one object have the same';
comment on column moderation_labels.timestamp_ms is
  'when the label was seen, milliseconds from the start of the video (`aggregate_by = "TIMESTAMPS"`); null if not told';
comment on column moderation_labels.start_ms is
  'from when on it was seen, milliseconds from the start of the video (`aggregate_by = "SEGMENTS"`); null if not told';
comment on column moderation_labels.end_ms is
  'until when it was seen, milliseconds from the start of the video (`aggregate_by = "SEGMENTS"`); null if not told';
comment on column moderation_labels.name is 'the label, as AWS names it';
comment on column moderation_labels.parent_name is 'the label above it, as AWS names it; empty at the top';
comment on column moderation_labels.taxonomy_level is 'depth of the label below the top, which is 1; null if not told';
comment on column moderation_labels.confidence is 'percent, 0 to 100, as AWS gives it, to the last bit';
comment on column moderation_labels.content_types is
  'list of `{"Name", "Confidence"}`: kinds of picture, such as Animated, each with its percent; empty for most';
comment on column moderation_labels.model_version is 'version of the moderation model that AWS used; null if not told';

comment on view video_labels is
  'a row for each label of each video that is done, made for searching: no detection is read for it';
comment on column video_labels.backfill is 'name of the backfill';
comment on column video_labels.bucket is 'S3 bucket of the object';
comment on column video_labels.key is 'key of the object within its bucket';
comment on column video_labels.version_id is
  'VersionId of the object, named by its source or found before the start; null where the bucket keeps no versions';
comment on column video_labels.name is 'the label, as AWS names it';
comment on column video_labels.parent_name is 'the label above it, as AWS names it; empty at the top';
comment on column video_labels.taxonomy_level is 'depth of the label below the top, which is 1; null if not told';
comment on column video_labels.detections is 'how often it was seen in the video: its rows in `moderation_labels`';
comment on column video_labels.highest_confidence is 'the highest confidence with which it was seen: percent, 0 to 100';
comment on column video_labels.first_ms is 'when it was seen first, milliseconds from the start of the video';
comment on column video_labels.last_ms is
  'when it was seen last, milliseconds from the start of the video; of a segment, when that ends';

comment on view video_status is 'a row for each video of each backfill, whatever its state';
comment on column video_status.backfill is 'name of the backfill';
comment on column video_status.bucket is 'S3 bucket of the object';
comment on column video_status.key is 'key of the object within its bucket';
comment on column video_status.version_id is
  'VersionId of the object, named by its source or found before the start; null until then, and without versions';
comment on column video_status.state is
  'pending, active, done, failed, skipped, uncertain or expired; pending videos of a cancelled backfill show as skipped';
comment on column video_status.reason is
  'why it ended without labels, or `cancelled` for its backfill; null if it is pending, active or done';
comment on column video_status.generations is
  'number of its job, or of the job to come: 1 for the first try, one more for each further one';
comment on column video_status.aws_job_id is 'JobId of its job; null if none was started';
comment on column video_status.duration_ms is
  'length of the video in milliseconds, as AWS measured it, else as its source told; null if neither did';
comment on column video_status.labels is 'how many labels were seen: its rows in `moderation_labels`; 0 unless it is done';
comment on column video_status.cost_usd is
  'US dollars that its job cost, by the backfill''s price; 0 until that is known, and if another video bought the job';
comment on column video_status.registered_at is 'when it was registered';
comment on column video_status.started_at is 'when the start of its job was recorded; null if none was started';
comment on column video_status.settled_at is 'when it came to its final state; null until then';

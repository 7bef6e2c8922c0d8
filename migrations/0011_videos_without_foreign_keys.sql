-- A video's backfill and lane are guarded by its tally alone: two foreign keys made registering three times as dear.
-- serves: 0006
-- `tally` has both keys, and no video is added without being counted there in the same statement; `verify` looks.

alter table video drop constraint video_backfill_id_fkey, drop constraint video_lane_id_fkey;

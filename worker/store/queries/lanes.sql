-- name: register_lane
-- A lane by its name, made if it is new.
with made as (
  insert into lane (name, region)
  select $1, $2 where not exists (select from lane where name = $1)
  on conflict (name) do nothing
  returning id, region, account_id
)
select id, region, account_id from made
union all
select id, region, account_id from lane where name = $1
limit 1

-- name: register_channel
-- The lane's channel of this topic and role, made if it is new.
with made as (
  insert into channel (lane_id, topic_arn, role_arn)
  select $1, $2, $3 where not exists (select from channel where lane_id = $1 and topic_arn = $2 and role_arn = $3)
  on conflict (lane_id, topic_arn, role_arn) do nothing
  returning id
)
select id from made
union all
select id from channel where lane_id = $1 and topic_arn = $2 and role_arn = $3
limit 1

-- name: channels_of_lane
-- Every channel that the lane ever used, the newest first.
select id, topic_arn, role_arn from channel where lane_id = $1 order by id desc

-- name: acquire_lane_if_free
-- Takes the lane under a new epoch, if no lease but the taker's own runs on it; pins the account at the first time.
-- A lease that ends later than the longest one can was given before the database's clock was set back.
-- Waits for the money decisions of the earlier owner, which share the row's key: their intents are seen by the new one.
with free as (
  select id from lane
   where id = $1 and (account_id is null or account_id = $5)
     and (holder = $2 or expires_at < clock_timestamp() or expires_at > clock_timestamp() + interval '5 minutes')
     for update
)
update lane l
   set holder = $2, holder_name = $3, account_id = coalesce(l.account_id, $5), epoch = l.epoch + 1,
       expires_at = clock_timestamp() + make_interval(secs => $4), worked_at = clock_timestamp()
  from free f where l.id = f.id
returning l.epoch

-- name: renew_lane_if_held
-- A late renewal succeeds while nobody has taken the lane.
update lane
   set expires_at = clock_timestamp() + make_interval(secs => $4), worked_at = clock_timestamp(), report = $5
 where id = $1 and holder = $2 and epoch = $3
returning true

-- name: release_lane_if_held
-- Gives the lease back, so that the next owner need not wait for its end; a renewal under way finds nothing to renew.
update lane set holder = null, holder_name = null, expires_at = '-infinity'
 where id = $1 and holder = $2 and epoch = $3

-- name: lane_owner
-- Who holds the lane, and the account that it is pinned to.
select name, holder_name, account_id, expires_at > clock_timestamp() as is_held from lane where id = $1

-- Three roles for one database of modworker: who may change its tables, who may work on them, who may read results.
-- For psql, as a superuser or as the database's owner with CREATEROLE (a managed service's administrator); harmless to
-- repeat. Other names: -v owner=… -v worker=… -v reader=…; README.md beside this file tells when.

\set ON_ERROR_STOP on
\if :{?owner} \else
  \set owner modworker_owner
\endif
\if :{?worker} \else
  \set worker modworker_worker
\endif
\if :{?reader} \else
  \set reader modworker_reader
\endif
select current_database() as database \gset

begin;
set local client_min_messages = warning;

-- None of them is a superuser, makes databases or roles, or replicates: that is how CREATE ROLE makes them.
select format('create role %I login', wanted)
  from unnest(array[:'owner', :'worker', :'reader']) as wanted
 where not exists (select from pg_roles where rolname = wanted) \gexec

-- Who is no superuser must be a member of a role to give it tables and to set what it grants by default.
select format('grant %I to current_user', :'owner') where not pg_has_role(current_user, :'owner', 'usage') \gexec

-- Nobody comes in, or makes anything, by being somebody.
revoke all on database :"database" from public;
revoke all on schema public from public;
grant connect on database :"database" to :"owner", :"worker", :"reader";
grant usage on schema public to :"owner", :"worker", :"reader";
alter role :"owner" in database :"database" set search_path = public, pg_temp;
alter role :"worker" in database :"database" set search_path = public, pg_temp;
alter role :"reader" in database :"database" set search_path = public, pg_temp;

-- The owner migrates. What somebody else migrated before becomes its own; sequences of identity columns go with theirs.
grant create on schema public to :"owner";
select format('alter %s %s owner to %I', case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end,
              c.oid::regclass, :'owner')
  from pg_class c
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
   and c.relowner <> (select oid from pg_roles where rolname = :'owner')
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i'))
 order by c.relkind = 'v', c.oid \gexec

-- The worker changes rows, of later migrations' tables too, and registers sources through a temporary table.
grant temporary on database :"database" to :"worker";
grant select, insert, update, delete on all tables in schema public to :"worker";
grant usage on all sequences in schema public to :"worker";
alter default privileges for role :"owner" in schema public grant select, insert, update, delete on tables to :"worker";
alter default privileges for role :"owner" in schema public grant usage on sequences to :"worker";

-- What was migrated, and for whom, is read only, but for what tells a restored database from others; a decision that
-- was written down stays as it is.
select format('revoke insert, update, delete on %I from %I', tablename, :'worker')
  from pg_tables where schemaname = 'public' and tablename in ('schema_migration', 'deployment') \gexec
select format('grant update (%I) on deployment to %I', attname, :'worker')
  from pg_attribute where attrelid = to_regclass('public.deployment') and attname in ('incarnation', 'restored_from') \gexec
select format('revoke update, delete on %I from %I', tablename, :'worker')
  from pg_tables where schemaname = 'public' and tablename = 'audit' \gexec

-- The reader sees the public views and nothing else. Its limits keep a mistake from holding up the worker.
select format('grant select on %I to %I', viewname, :'reader')
  from pg_views where schemaname = 'public' and viewname in ('moderation_labels', 'video_status', 'video_labels') \gexec
alter role :"reader" in database :"database" set default_transaction_read_only = on;
alter role :"reader" in database :"database" set statement_timeout = '60s';
alter role :"reader" in database :"database" set idle_in_transaction_session_timeout = '60s';

commit;

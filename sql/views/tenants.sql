create or replace view farebox.tenants as
select
    tenants.tenant_id,
    tenants.name,
    tenants.status,
    tenants.plan,
    tenants.time_zone,
    case when (select farebox_private.sees_all()) then tenants.settings end as settings,
    tenants.created_at,
    case when (select farebox_private.sees_all()) then tenants.created_by end as created_by,
    activity.first_seen,
    activity.last_seen,
    tenants.status_reason
from farebox_private.tenants
left join farebox_private.tenant_activity as activity using (tenant_id);

grant select on farebox.tenants to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.tenants is 'Tenants, with when their calls were seen.';
comment on column farebox.tenants.tenant_id is 'The identifier used on the wire.';
comment on column farebox.tenants.name is 'A name for people.';
comment on column farebox.tenants.status is 'active, suspended (refused) or archived (refused and hidden).';
comment on column farebox.tenants.plan is 'Selling rules may go by it.';
comment on column farebox.tenants.time_zone is 'IANA name; decides the tenant''s days and months.';
comment on column farebox.tenants.settings is 'Settings by name: on_unrecordable, spool_sync, stream_usage, unpriced_models, …. Null for tenants.';
comment on column farebox.tenants.created_at is 'When the tenant was made.';
comment on column farebox.tenants.created_by is 'Who made it; ingest when its first event did. Null for tenants.';
comment on column farebox.tenants.first_seen is 'Earliest started_at of its events.';
comment on column farebox.tenants.last_seen is 'Latest started_at of its events.';
comment on column farebox.tenants.status_reason is 'Why it is suspended or archived; told to its callers.';

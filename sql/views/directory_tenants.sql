create or replace view farebox_private.directory_tenants as
select
    tenants.tenant_id,
    tenants.status,
    tenants.settings,
    tenants.plan,
    tenants.status_reason,
    tenants.time_zone,
    tenants.time_zone_before,
    tenants.time_zone_from
from farebox_private.tenants;

grant select on farebox_private.directory_tenants to farebox_proxy;
comment on view farebox_private.directory_tenants is 'What a proxy knows of tenants.';
comment on column farebox_private.directory_tenants.tenant_id is 'The identifier used on the wire.';
comment on column farebox_private.directory_tenants.status is 'active, suspended or archived.';
comment on column farebox_private.directory_tenants.settings is 'Settings by name.';
comment on column farebox_private.directory_tenants.plan is 'Selling rules may go by it.';
comment on column farebox_private.directory_tenants.status_reason is 'Why it is suspended or archived.';
comment on column farebox_private.directory_tenants.time_zone is 'IANA name; decides the tenant''s days and months.';
comment on column farebox_private.directory_tenants.time_zone_before is 'The zone that holds before time_zone_from.';
comment on column farebox_private.directory_tenants.time_zone_from is 'First month of time_zone; null: always.';

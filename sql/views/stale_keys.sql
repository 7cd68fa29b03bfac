create or replace view farebox.stale_keys as
select
    keys.key_id,
    keys.prefix,
    keys.name,
    keys.tenant_id,
    keys.environment,
    keys.created_at,
    activity.last_used_at,
    allowed.days as stale_after_days,
    extract(day from now() - coalesce(activity.last_used_at, keys.created_at))::integer as idle_days
from farebox_private.virtual_keys as keys
left join farebox_private.key_activity as activity using (key_id)
left join farebox_private.tenants using (tenant_id)
cross join lateral (
    select coalesce(
        keys.stale_after_days,
        (tenants.settings ->> 'stale_after_days')::integer,
        (select (deployment.value #>> '{}')::integer
         from farebox_private.deployment
         where deployment.name = 'stale_after_days'),
        90
    ) as days
) as allowed
where keys.revoked_at is null
    and (keys.expires_at is null or keys.expires_at > now())
    and coalesce(activity.last_used_at, keys.created_at) < now() - make_interval(days => allowed.days);

grant select on farebox.stale_keys to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.stale_keys is 'Virtual keys that work and were not used for longer than they may: 90 days, unless key, tenant or deployment says otherwise.';
comment on column farebox.stale_keys.key_id is 'Identifier of the key.';
comment on column farebox.stale_keys.prefix is 'The first eight characters, visible and unique.';
comment on column farebox.stale_keys.name is 'A name for people.';
comment on column farebox.stale_keys.tenant_id is 'The key''s own tenant, or null.';
comment on column farebox.stale_keys.environment is 'live or test.';
comment on column farebox.stale_keys.created_at is 'When it was issued.';
comment on column farebox.stale_keys.last_used_at is 'When it was used last; null: never.';
comment on column farebox.stale_keys.stale_after_days is 'Days without use that it is allowed.';
comment on column farebox.stale_keys.idle_days is 'Whole days since it was used last, or issued.';

create or replace view farebox.virtual_keys as
select
    keys.key_id,
    keys.prefix,
    keys.name,
    keys.tenant_id,
    keys.may_attribute,
    keys.may_attribute_values,
    keys.scopes,
    keys.environment,
    keys.own_credential,
    keys.allowed_upstreams,
    keys.allowed_models,
    keys.networks,
    keys.expires_at,
    keys.revoked_at,
    keys.revoked_by,
    keys.revoke_streams,
    keys.issued_by,
    keys.created_at,
    keys.rotated_from,
    keys.allowed_projects,
    keys.stale_after_days,
    activity.first_used_at,
    activity.last_used_at,
    keys.allowed_tools
from farebox_private.virtual_keys as keys
left join farebox_private.key_activity as activity using (key_id);

grant select on farebox.virtual_keys to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.virtual_keys is 'Virtual keys, without their secrets.';
comment on column farebox.virtual_keys.key_id is 'Identifier of the key.';
comment on column farebox.virtual_keys.prefix is 'The first eight characters, visible and unique.';
comment on column farebox.virtual_keys.name is 'A name for people.';
comment on column farebox.virtual_keys.tenant_id is 'The key''s own tenant, or null.';
comment on column farebox.virtual_keys.may_attribute is 'Which tenants an unscoped key may name: none, any, list, prefix.';
comment on column farebox.virtual_keys.may_attribute_values is 'The list, or the prefix.';
comment on column farebox.virtual_keys.scopes is 'What the key may do: proxy, usage:read, admin, ….';
comment on column farebox.virtual_keys.environment is 'live, or test (simulated upstream, on no invoice).';
comment on column farebox.virtual_keys.own_credential is 'The caller''s own provider credential passes through.';
comment on column farebox.virtual_keys.allowed_upstreams is 'Upstreams it may reach; null: all.';
comment on column farebox.virtual_keys.allowed_models is 'Models it may ask for; null: all.';
comment on column farebox.virtual_keys.networks is 'Source networks in CIDR form it may come from; null: all.';
comment on column farebox.virtual_keys.expires_at is 'When it stops working; null: never.';
comment on column farebox.virtual_keys.revoked_at is 'When it was revoked.';
comment on column farebox.virtual_keys.revoked_by is 'Who revoked it.';
comment on column farebox.virtual_keys.revoke_streams is 'Whether revocation cuts running streams or lets them finish.';
comment on column farebox.virtual_keys.issued_by is 'Who issued it.';
comment on column farebox.virtual_keys.created_at is 'When it was issued.';
comment on column farebox.virtual_keys.rotated_from is 'The key it replaces.';
comment on column farebox.virtual_keys.allowed_projects is 'Projects it may name; null: all.';
comment on column farebox.virtual_keys.stale_after_days is 'Days without use after which it is stale; null: as its tenant or the deployment says.';
comment on column farebox.virtual_keys.first_used_at is 'When it was used first; null: never.';
comment on column farebox.virtual_keys.last_used_at is 'When it was used last; null: never.';
comment on column farebox.virtual_keys.allowed_tools is 'Functions and hosted tools its calls may offer a model; null: all.';

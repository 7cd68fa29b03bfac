create or replace view farebox_private.directory_keys as
select
    virtual_keys.key_id,
    virtual_keys.prefix,
    virtual_keys.secret_hash,
    virtual_keys.name,
    virtual_keys.tenant_id,
    virtual_keys.may_attribute,
    virtual_keys.may_attribute_values,
    virtual_keys.scopes,
    virtual_keys.environment,
    virtual_keys.own_credential,
    virtual_keys.allowed_upstreams,
    virtual_keys.allowed_models,
    virtual_keys.networks,
    virtual_keys.expires_at,
    virtual_keys.revoked_at,
    virtual_keys.revoke_streams,
    virtual_keys.allowed_projects,
    virtual_keys.allowed_tools
from farebox_private.virtual_keys;

grant select on farebox_private.directory_keys to farebox_proxy;
comment on view farebox_private.directory_keys is 'What a proxy knows of virtual keys.';
comment on column farebox_private.directory_keys.key_id is 'Identifier of the key.';
comment on column farebox_private.directory_keys.prefix is 'The first eight characters, visible and unique.';
comment on column farebox_private.directory_keys.secret_hash is 'argon2id in PHC form.';
comment on column farebox_private.directory_keys.name is 'A name for people.';
comment on column farebox_private.directory_keys.tenant_id is 'The key''s own tenant, or null.';
comment on column farebox_private.directory_keys.may_attribute is 'Which tenants an unscoped key may name: none, any, list, prefix.';
comment on column farebox_private.directory_keys.may_attribute_values is 'The list, or the prefix.';
comment on column farebox_private.directory_keys.scopes is 'What the key may do.';
comment on column farebox_private.directory_keys.environment is 'live or test.';
comment on column farebox_private.directory_keys.own_credential is 'The caller''s own provider credential passes through.';
comment on column farebox_private.directory_keys.allowed_upstreams is 'Upstreams it may reach; null: all.';
comment on column farebox_private.directory_keys.allowed_models is 'Models it may ask for; null: all.';
comment on column farebox_private.directory_keys.networks is 'Source networks it may come from; null: all.';
comment on column farebox_private.directory_keys.expires_at is 'When it stops working; null: never.';
comment on column farebox_private.directory_keys.revoked_at is 'When it was revoked.';
comment on column farebox_private.directory_keys.revoke_streams is 'Whether revocation cuts running streams or lets them finish.';
comment on column farebox_private.directory_keys.allowed_projects is 'Projects it may name; null: all.';
comment on column farebox_private.directory_keys.allowed_tools is 'Functions and hosted tools its calls may offer a model; null: all.';

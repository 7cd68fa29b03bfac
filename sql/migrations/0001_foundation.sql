-- Schemas, the domain of money, the validator of ids, and who may see which tenant's rows.

create schema if not exists farebox;
grant usage on schema farebox to farebox_reader, farebox_collector, farebox_retention, farebox_tenant;
grant usage on schema farebox_private to farebox_proxy, farebox_collector, farebox_retention;

comment on schema farebox is 'The public face: views and functions. Tenants'' logins see their own rows only.';
comment on schema farebox_private is 'Tables behind the public face; not an interface.';

comment on table farebox_private.schema_migrations is 'Which migrations have run, and the checksum of their text.';
comment on column farebox_private.schema_migrations.version is 'The number in the file''s name.';
comment on column farebox_private.schema_migrations.name is 'The subject in the file''s name.';
comment on column farebox_private.schema_migrations.checksum is 'SHA-256 of the file as released; a changed file is refused.';
comment on column farebox_private.schema_migrations.applied_at is 'When it ran here.';

-- numeric(30,12) would round silently; this refuses.
create domain farebox_private.usd as numeric
    constraint at_most_twelve_decimals check (scale(value) <= 12);
comment on domain farebox_private.usd is 'US dollars, exact, at most twelve digits behind the point.';

-- The one rule for identifiers, the same as farebox_pricing::id::check.
create function farebox_private.is_id(id text) returns boolean
    language sql immutable parallel safe
    return char_length(id) between 1 and 128
        and id !~ '[\u0001-\u001f\u007f-\u009f]'
        and id is nfc normalized;
comment on function farebox_private.is_id(text) is
    'Whether a text is an identifier: 1 to 128 Unicode scalar values, NFC, no control characters.';

create table farebox_private.tenant_logins (
    login name not null,
    tenant_id text not null,
    created_at timestamptz not null default now(),
    created_by text,
    constraint tenant_logins_pkey primary key (login),
    constraint tenant_id_is_id check (farebox_private.is_id(tenant_id))
);
comment on table farebox_private.tenant_logins is 'Which database login belongs to which tenant; row security goes by it.';
comment on column farebox_private.tenant_logins.login is 'The database role that logs in.';
comment on column farebox_private.tenant_logins.tenant_id is 'The one tenant whose rows it sees.';
comment on column farebox_private.tenant_logins.created_at is 'When the login was made.';
comment on column farebox_private.tenant_logins.created_by is 'Who made it.';

-- Row security goes by the user and by a table, never by a session setting that any SQL user can set.
-- Both functions are parsed when they are made, so no search_path of a caller can bend them.
create function farebox_private.sees_all() returns boolean
    language sql stable parallel safe
    return pg_catalog.pg_has_role('farebox_reader', 'member')
        or pg_catalog.pg_has_role('farebox_collector', 'member')
        or pg_catalog.pg_has_role('farebox_proxy', 'member')
        or pg_catalog.pg_has_role('farebox_retention', 'member')
        or pg_catalog.pg_has_role('farebox_owner', 'member');
comment on function farebox_private.sees_all() is
    'Whether the current user is of the operator''s side and sees every tenant.';

alter table farebox_private.tenant_logins enable row level security;
alter table farebox_private.tenant_logins force row level security;
create policy own_login on farebox_private.tenant_logins
    to public
    using (login = current_user or (select farebox_private.sees_all()));
grant select on farebox_private.tenant_logins to farebox_tenant, farebox_reader, farebox_collector, farebox_proxy, farebox_retention;

create function farebox_private.own_tenant() returns text
    language sql stable parallel safe
    return (
        select tenant_logins.tenant_id
        from farebox_private.tenant_logins
        where tenant_logins.login = current_user
    );
comment on function farebox_private.own_tenant() is
    'The tenant of the current login; null for anybody else.';

-- For one row. The policies hold the same two calls as sub-selects, so that they run once a query.
create function farebox_private.may_see(tenant_id text) returns boolean
    language sql stable parallel safe
    return farebox_private.sees_all() or tenant_id = farebox_private.own_tenant();
comment on function farebox_private.may_see(text) is
    'Whether the current user may see rows of this tenant; unattributed rows (null) are for the operator.';

-- What the proxies hold in memory: tenants, keys, limits, rate cards; and how a change reaches them.

create table farebox_private.directory_changes (
    change_id bigint generated always as identity,
    kind text not null,
    entity_id text not null,
    changed_at timestamptz not null default now(),
    constraint directory_changes_pkey primary key (change_id),
    constraint kind_is_known check (kind in ('tenant', 'key', 'limit', 'rate_card'))
);
comment on table farebox_private.directory_changes is 'One row for each changed entity; proxies read what is past their last one, and hear of it on the channel farebox_directory.';
comment on column farebox_private.directory_changes.change_id is 'Grows in the order of commits.';
comment on column farebox_private.directory_changes.kind is 'tenant, key, limit or rate_card.';
comment on column farebox_private.directory_changes.entity_id is 'The entity''s id; for a rate card its provider.';
comment on column farebox_private.directory_changes.changed_at is 'When the change was made.';

-- One lock for all writers of the channel: without it a change with a lower number could become
-- visible after a higher one, and a proxy that reads past its last number would miss it.
create function farebox_private.note_directory_change() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $function$
declare
    entity jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
    change bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('farebox_directory', 0));
    insert into farebox_private.directory_changes (kind, entity_id)
    values (tg_argv[0], entity ->> tg_argv[1])
    returning change_id into change;
    perform pg_notify('farebox_directory', change::text);
    return null;
end
$function$;
comment on function farebox_private.note_directory_change() is
    'Trigger: writes one change for the row and notifies the proxies. Arguments: kind, id column.';

create table farebox_private.tenants (
    tenant_id text not null,
    name text,
    status text not null default 'active',
    plan text,
    time_zone text not null default 'UTC',
    time_zone_before text,
    time_zone_from date,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now(),
    created_by text,
    updated_at timestamptz not null default now(),
    constraint tenants_pkey primary key (tenant_id),
    constraint tenant_id_is_id check (farebox_private.is_id(tenant_id)),
    constraint status_is_known check (status in ('active', 'suspended', 'archived')),
    constraint time_zone_is_named check (time_zone ~ '^(UTC|[A-Za-z]+(/[A-Za-z0-9_+-]+)+)$'),
    constraint settings_is_object check (jsonb_typeof(settings) = 'object')
);
comment on table farebox_private.tenants is 'The operator''s customers, made by hand or by their first event.';
comment on column farebox_private.tenants.tenant_id is 'The identifier used on the wire.';
comment on column farebox_private.tenants.name is 'A name for people.';
comment on column farebox_private.tenants.status is 'active, suspended (refused) or archived (refused and hidden).';
comment on column farebox_private.tenants.plan is 'Selling rules may go by it.';
comment on column farebox_private.tenants.time_zone is 'IANA name; decides the tenant''s days and months.';
comment on column farebox_private.tenants.time_zone_before is 'The zone that holds before time_zone_from.';
comment on column farebox_private.tenants.time_zone_from is 'First month of time_zone; null: always.';
comment on column farebox_private.tenants.settings is 'Settings by name: on_unrecordable, spool_sync, stream_usage, unpriced_models, ….';
comment on column farebox_private.tenants.created_at is 'When the tenant was made.';
comment on column farebox_private.tenants.created_by is 'Who made it; ingest when its first event did.';
comment on column farebox_private.tenants.updated_at is 'When it was last changed.';

-- A changed zone counts from the next month, so that no day or month in progress moves.
create function farebox_private.keep_time_zone_until_month_end() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $function$
begin
    perform now() at time zone new.time_zone;
    new.updated_at := now();
    if tg_op = 'UPDATE' and new.time_zone is distinct from old.time_zone then
        if old.time_zone_from is null or old.time_zone_from <= (now() at time zone old.time_zone)::date then
            new.time_zone_before := old.time_zone;
        end if;
        new.time_zone_from := (date_trunc('month', now() at time zone new.time_zone_before) + interval '1 month')::date;
    end if;
    return new;
end
$function$;
comment on function farebox_private.keep_time_zone_until_month_end() is
    'Trigger: refuses an unknown time zone and lets a changed one count from the next month.';
create trigger keep_time_zone_until_month_end
    before insert or update on farebox_private.tenants
    for each row execute function farebox_private.keep_time_zone_until_month_end();
create trigger note_directory_change
    after insert or update or delete on farebox_private.tenants
    for each row execute function farebox_private.note_directory_change('tenant', 'tenant_id');

create table farebox_private.tenant_activity (
    tenant_id text not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    changed_at timestamptz not null,
    constraint tenant_activity_pkey primary key (tenant_id)
);
comment on table farebox_private.tenant_activity is 'When a tenant''s calls were seen; apart from tenants so that ingest does not touch the directory.';
comment on column farebox_private.tenant_activity.tenant_id is 'The tenant.';
comment on column farebox_private.tenant_activity.first_seen is 'Earliest started_at of its events.';
comment on column farebox_private.tenant_activity.last_seen is 'Latest started_at of its events.';
comment on column farebox_private.tenant_activity.changed_at is 'When the collector had the event that changed it last; a list that was begun before goes by what was seen then.';

create table farebox_private.customers (
    tenant_id text not null,
    customer_id text not null,
    name text,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now(),
    constraint customers_pkey primary key (tenant_id, customer_id),
    constraint customer_id_is_id check (farebox_private.is_id(customer_id)),
    constraint settings_is_object check (jsonb_typeof(settings) = 'object')
);
comment on table farebox_private.customers is 'The tenants'' own end customers, made by hand or by their first event.';
comment on column farebox_private.customers.tenant_id is 'The tenant.';
comment on column farebox_private.customers.customer_id is 'The identifier used on the wire, unique in its tenant.';
comment on column farebox_private.customers.name is 'A name for people.';
comment on column farebox_private.customers.settings is 'Settings by name.';
comment on column farebox_private.customers.created_at is 'When the customer was made.';

create table farebox_private.virtual_keys (
    key_id uuid not null,
    prefix text not null,
    secret_hash text not null,
    name text not null,
    tenant_id text references farebox_private.tenants (tenant_id),
    may_attribute text not null default 'none',
    may_attribute_values text[] not null default '{}',
    scopes text[] not null default '{proxy}',
    environment text not null default 'live',
    own_credential boolean not null default false,
    allowed_upstreams text[],
    allowed_models text[],
    networks text[],
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    revoke_streams text not null default 'cut',
    issued_by text,
    created_at timestamptz not null default now(),
    rotated_from uuid,
    constraint virtual_keys_pkey primary key (key_id),
    constraint prefix_is_unique unique (prefix),
    constraint prefix_is_visible_part check (prefix ~ '^vk_[A-Z2-7]{5}$'),
    constraint secret_is_hashed check (secret_hash like '$argon2id$%'),
    constraint name_is_id check (farebox_private.is_id(name)),
    constraint may_attribute_is_known check (may_attribute in ('none', 'any', 'list', 'prefix')),
    constraint environment_is_known check (environment in ('live', 'test')),
    constraint revoke_streams_is_known check (revoke_streams in ('cut', 'finish'))
);
create index virtual_keys_of_tenant on farebox_private.virtual_keys (tenant_id);
comment on table farebox_private.virtual_keys is 'Virtual keys; the secret is kept as argon2id only.';
comment on column farebox_private.virtual_keys.key_id is 'Identifier of the key.';
comment on column farebox_private.virtual_keys.prefix is 'The first eight characters, visible and unique.';
comment on column farebox_private.virtual_keys.secret_hash is 'argon2id in PHC form; never shown.';
comment on column farebox_private.virtual_keys.name is 'A name for people.';
comment on column farebox_private.virtual_keys.tenant_id is 'The key''s own tenant, or null.';
comment on column farebox_private.virtual_keys.may_attribute is 'Which tenants an unscoped key may name: none, any, list, prefix.';
comment on column farebox_private.virtual_keys.may_attribute_values is 'The list, or the prefix.';
comment on column farebox_private.virtual_keys.scopes is 'What the key may do: proxy, usage:read, admin, ….';
comment on column farebox_private.virtual_keys.environment is 'live, or test (simulated upstream, on no invoice).';
comment on column farebox_private.virtual_keys.own_credential is 'The caller''s own provider credential passes through.';
comment on column farebox_private.virtual_keys.allowed_upstreams is 'Upstreams it may reach; null: all.';
comment on column farebox_private.virtual_keys.allowed_models is 'Models it may ask for; null: all.';
comment on column farebox_private.virtual_keys.networks is 'Source networks in CIDR form it may come from; null: all.';
comment on column farebox_private.virtual_keys.expires_at is 'When it stops working; null: never.';
comment on column farebox_private.virtual_keys.revoked_at is 'When it was revoked.';
comment on column farebox_private.virtual_keys.revoked_by is 'Who revoked it.';
comment on column farebox_private.virtual_keys.revoke_streams is 'Whether revocation cuts running streams or lets them finish.';
comment on column farebox_private.virtual_keys.issued_by is 'Who issued it.';
comment on column farebox_private.virtual_keys.created_at is 'When it was issued.';
comment on column farebox_private.virtual_keys.rotated_from is 'The key it replaces.';
create trigger note_directory_change
    after insert or update or delete on farebox_private.virtual_keys
    for each row execute function farebox_private.note_directory_change('key', 'key_id');

create table farebox_private.limits (
    limit_id uuid not null,
    tenant_id text references farebox_private.tenants (tenant_id),
    customer_id text,
    key_id uuid,
    upstream text,
    model text,
    meter text not null,
    amount numeric not null,
    window_kind text not null,
    action text not null default 'refuse',
    dry_run boolean not null default false,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    created_by text,
    updated_at timestamptz not null default now(),
    constraint limits_pkey primary key (limit_id),
    constraint amount_not_negative check (amount >= 0),
    constraint window_is_known check (window_kind in ('second', 'minute', 'hour', 'day', 'month', 'lifetime', 'concurrent')),
    constraint action_is_known check (action in ('refuse', 'warn', 'cut'))
);
create index limits_of_tenant on farebox_private.limits (tenant_id);
comment on table farebox_private.limits is 'Rates, quantities and budgets.';
comment on column farebox_private.limits.limit_id is 'Identifier of the limit.';
comment on column farebox_private.limits.tenant_id is 'The tenant it binds; null: everybody.';
comment on column farebox_private.limits.customer_id is 'The customer it binds; null: all.';
comment on column farebox_private.limits.key_id is 'The virtual key it binds; null: all.';
comment on column farebox_private.limits.upstream is 'The upstream it binds; null: all.';
comment on column farebox_private.limits.model is 'The model it binds; null: all.';
comment on column farebox_private.limits.meter is 'What is counted: requests, a meter, cost or billed.';
comment on column farebox_private.limits.amount is 'How much a window allows.';
comment on column farebox_private.limits.window_kind is 'The window the amount is for.';
comment on column farebox_private.limits.action is 'What happens past it: refuse, warn or cut.';
comment on column farebox_private.limits.dry_run is 'Counted and reported, never enforced.';
comment on column farebox_private.limits.expires_at is 'When it stops to hold; null: never.';
comment on column farebox_private.limits.created_at is 'When it was made.';
comment on column farebox_private.limits.created_by is 'Who made it.';
comment on column farebox_private.limits.updated_at is 'When it was last changed.';
create trigger note_directory_change
    after insert or update or delete on farebox_private.limits
    for each row execute function farebox_private.note_directory_change('limit', 'limit_id');

create table farebox_private.rate_card_revisions (
    sha256 text not null,
    kind text not null default 'cost',
    provider text not null,
    canonical text not null,
    loaded_at timestamptz not null default now(),
    activated_at timestamptz,
    activated_by text,
    constraint rate_card_revisions_pkey primary key (sha256),
    constraint sha256_is_hex check (sha256 ~ '^[0-9a-f]{64}$'),
    constraint sha256_is_of_the_text check (sha256 = encode(sha256(convert_to(canonical, 'UTF8')), 'hex')),
    constraint kind_is_known check (kind in ('cost', 'price'))
);
create index rate_card_revisions_active on farebox_private.rate_card_revisions (provider, kind, activated_at desc);
comment on table farebox_private.rate_card_revisions is 'Rate cards by content; a revision never changes. The newest activated one of a provider is active.';
comment on column farebox_private.rate_card_revisions.sha256 is 'SHA-256 of the canonical form: the revision''s identity.';
comment on column farebox_private.rate_card_revisions.kind is 'cost (a provider''s prices) or price (selling rules).';
comment on column farebox_private.rate_card_revisions.provider is 'The vendor.';
comment on column farebox_private.rate_card_revisions.canonical is 'The card''s canonical JSON text.';
comment on column farebox_private.rate_card_revisions.loaded_at is 'When it came into the database.';
comment on column farebox_private.rate_card_revisions.activated_at is 'When it became active; null: not yet.';
comment on column farebox_private.rate_card_revisions.activated_by is 'Who activated it; built-in cards: migrate.';
create trigger note_directory_change
    after insert or update on farebox_private.rate_card_revisions
    for each row execute function farebox_private.note_directory_change('rate_card', 'provider');

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['tenants', 'tenant_activity', 'customers', 'virtual_keys', 'limits']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
        execute format(
            'create policy own_rows on farebox_private.%I to public using ('
            '(select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()))',
            table_name
        );
    end loop;
    -- Purchase prices and the change channel are the operator's alone.
    foreach table_name in array array['directory_changes', 'rate_card_revisions']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
        execute format(
            'create policy operator_rows on farebox_private.%I to public using ((select farebox_private.sees_all()))',
            table_name
        );
    end loop;
end
$security$;

grant select, insert, update on farebox_private.tenants, farebox_private.tenant_activity,
    farebox_private.customers, farebox_private.virtual_keys, farebox_private.rate_card_revisions
    to farebox_collector;
grant select, insert, update, delete on farebox_private.limits to farebox_collector;
grant select, insert on farebox_private.directory_changes to farebox_collector;
grant select on farebox_private.directory_changes to farebox_proxy;

-- Provider credentials at rest, what sessions were attributed to, when keys were used, why a tenant
-- was stopped, and defaults that views go by.

alter table farebox_private.tenants
    add column status_reason text,
    add constraint status_reason_is_short check (char_length(status_reason) between 1 and 256);
comment on column farebox_private.tenants.status_reason is 'Why it is suspended or archived; told to its callers.';

alter table farebox_private.virtual_keys
    add column allowed_projects text[],
    add column stale_after_days integer,
    add constraint stale_after_days_is_positive check (stale_after_days > 0);
comment on column farebox_private.virtual_keys.allowed_projects is 'Projects it may name; null: all.';
comment on column farebox_private.virtual_keys.stale_after_days is 'Days without use after which it is stale; null: as its tenant or the deployment says.';

-- Which kinds there are is the triggers' to say; proxies skip those they do not know.
alter table farebox_private.directory_changes
    drop constraint kind_is_known,
    add constraint kind_is_a_word check (kind ~ '^[a-z_]{1,40}$');
comment on column farebox_private.directory_changes.kind is 'tenant, key, limit, rate_card, credential, ….';

create table farebox_private.deployment (
    name text not null,
    value jsonb not null,
    changed_at timestamptz not null default now(),
    constraint deployment_pkey primary key (name)
);
comment on table farebox_private.deployment is 'Defaults of the whole deployment that views go by; the collector writes what its configuration says.';
comment on column farebox_private.deployment.name is 'stale_after_days (90 when absent).';
comment on column farebox_private.deployment.value is 'The value.';
comment on column farebox_private.deployment.changed_at is 'When it was last changed.';

create table farebox_private.key_activity (
    key_id uuid not null,
    first_used_at timestamptz not null,
    last_used_at timestamptz not null,
    constraint key_activity_pkey primary key (key_id)
);
comment on table farebox_private.key_activity is 'When keys were used; apart from virtual_keys so that ingest does not touch the directory.';
comment on column farebox_private.key_activity.key_id is 'The virtual key.';
comment on column farebox_private.key_activity.first_used_at is 'Its earliest use.';
comment on column farebox_private.key_activity.last_used_at is 'Its latest use: start of a call, or a request to the API.';

create table farebox_private.credentials (
    credential_id uuid not null,
    tenant_id text references farebox_private.tenants (tenant_id),
    upstream text not null,
    name text,
    host text not null,
    hint text not null,
    master_key_id text not null,
    wrapped_key bytea not null,
    sealed bytea not null,
    created_at timestamptz not null default now(),
    created_by text,
    rotated_at timestamptz,
    rotated_by text,
    constraint credentials_pkey primary key (credential_id),
    constraint one_a_tenant_and_upstream unique nulls not distinct (tenant_id, upstream),
    constraint upstream_is_id check (farebox_private.is_id(upstream)),
    constraint name_is_id check (farebox_private.is_id(name)),
    constraint host_is_id check (farebox_private.is_id(host)),
    constraint hint_is_short check (char_length(hint) <= 4)
);
comment on table farebox_private.credentials is 'Provider credentials, each sealed under a data key of its own that a master key outside the database wraps.';
comment on column farebox_private.credentials.credential_id is 'Identifier, kept when the secret is rotated.';
comment on column farebox_private.credentials.tenant_id is 'The tenant whose own it is; null: the operator''s.';
comment on column farebox_private.credentials.upstream is 'The configured upstream it is for.';
comment on column farebox_private.credentials.name is 'A name for people.';
comment on column farebox_private.credentials.host is 'Host, and port where it is not the scheme''s own, that it may be sent to; bound into the seal.';
comment on column farebox_private.credentials.hint is 'The last characters of the secret, to tell one from another.';
comment on column farebox_private.credentials.master_key_id is 'Which master key wraps the data key.';
comment on column farebox_private.credentials.wrapped_key is 'The data key under the master key: nonce and AES-256-GCM.';
comment on column farebox_private.credentials.sealed is 'The secret under the data key: nonce and AES-256-GCM.';
comment on column farebox_private.credentials.created_at is 'When it was first set.';
comment on column farebox_private.credentials.created_by is 'Who set it first.';
comment on column farebox_private.credentials.rotated_at is 'When the secret was last replaced.';
comment on column farebox_private.credentials.rotated_by is 'Who replaced it.';
create trigger note_directory_change
    after insert or update or delete on farebox_private.credentials
    for each row execute function farebox_private.note_directory_change('credential', 'credential_id');

-- Written and read by the proxies themselves, so that a session is known elsewhere before its first
-- call has ended. No notification: proxies ask for what transactions from their last snapshot on wrote.
create table farebox_private.session_attributions (
    key_id uuid not null,
    session_id text not null,
    tenant_id text,
    labels jsonb not null default '{}',
    changed_at timestamptz not null default now(),
    changed_xid xid8 not null default pg_current_xact_id(),
    constraint session_attributions_pkey primary key (key_id, session_id),
    constraint tenant_id_is_id check (farebox_private.is_id(tenant_id)),
    constraint labels_is_object check (jsonb_typeof(labels) = 'object')
);
create index session_attributions_changed on farebox_private.session_attributions (changed_xid);
comment on table farebox_private.session_attributions is 'Whose session it is, by virtual key and session id; the first attribution stays.';
comment on column farebox_private.session_attributions.key_id is 'The virtual key; all zeros: callers without one.';
comment on column farebox_private.session_attributions.session_id is 'The session.';
comment on column farebox_private.session_attributions.tenant_id is 'Its tenant; null: none yet.';
comment on column farebox_private.session_attributions.labels is 'What its later calls inherit: customer_id, project, agent, revision, metadata.';
comment on column farebox_private.session_attributions.changed_at is 'When it was last added to.';
comment on column farebox_private.session_attributions.changed_xid is 'The transaction that did.';

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['deployment', 'key_activity', 'credentials', 'session_attributions']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
    end loop;
    foreach table_name in array array['credentials', 'session_attributions']
    loop
        execute format(
            'create policy operator_rows on farebox_private.%I to public using ((select farebox_private.sees_all()))',
            table_name
        );
    end loop;
end
$security$;
create policy own_rows on farebox_private.key_activity
    to public
    using (
        (select farebox_private.sees_all())
        or key_id in (
            select virtual_keys.key_id
            from farebox_private.virtual_keys
            where virtual_keys.tenant_id = (select farebox_private.own_tenant())
        )
    );
-- No secret is in it, and tenants' own view of stale keys goes by it.
create policy all_rows on farebox_private.deployment to public using (true);
-- Of the audit log a proxy writes refused calls and nothing else.
create policy proxies_write_refusals on farebox_private.audit_log
    as restrictive
    for insert
    to farebox_proxy
    with check (action = 'call.refused');

grant select, insert, update on farebox_private.deployment, farebox_private.key_activity to farebox_collector;
grant select, insert, update, delete on farebox_private.credentials to farebox_collector;
grant select on farebox_private.session_attributions to farebox_collector;
grant select, insert, update on farebox_private.session_attributions to farebox_proxy;
grant insert on farebox_private.audit_log to farebox_proxy;
grant delete on farebox_private.session_attributions to farebox_retention;

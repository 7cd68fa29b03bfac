-- Who may ship, what has come from whom, and the collector's own records.

create table farebox_private.ingest_tokens (
    token_id uuid not null,
    name text not null,
    token_sha256 bytea not null,
    created_at timestamptz not null default now(),
    created_by text,
    revoked_at timestamptz,
    constraint ingest_tokens_pkey primary key (token_id),
    constraint token_is_unique unique (token_sha256),
    constraint name_is_id check (farebox_private.is_id(name))
);
comment on table farebox_private.ingest_tokens is 'What proxies prove themselves with to the collector; hashed, revocable.';
comment on column farebox_private.ingest_tokens.token_id is 'Identifier of the token.';
comment on column farebox_private.ingest_tokens.name is 'A name for people, usually the node''s.';
comment on column farebox_private.ingest_tokens.token_sha256 is 'SHA-256 of the token, which is random and long.';
comment on column farebox_private.ingest_tokens.created_at is 'When it was made.';
comment on column farebox_private.ingest_tokens.created_by is 'Who made it.';
comment on column farebox_private.ingest_tokens.revoked_at is 'When it was revoked.';

create table farebox_private.nodes (
    node text not null,
    epoch bigint,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    sent_at timestamptz,
    open_since timestamptz,
    retired_at timestamptz,
    retired_by text,
    constraint nodes_pkey primary key (node),
    constraint node_is_id check (farebox_private.is_id(node))
);
comment on table farebox_private.nodes is 'Proxies that shipped; live until retired. A close waits for their open_since.';
comment on column farebox_private.nodes.node is 'The proxy''s name.';
comment on column farebox_private.nodes.epoch is 'Its latest process start.';
comment on column farebox_private.nodes.first_seen_at is 'Its first request.';
comment on column farebox_private.nodes.last_seen_at is 'Its latest request, by the collector''s clock.';
comment on column farebox_private.nodes.sent_at is 'Its latest request, by its own clock.';
comment on column farebox_private.nodes.open_since is 'Earliest started_at of what it has not shipped yet.';
comment on column farebox_private.nodes.retired_at is 'When the operator retired it.';
comment on column farebox_private.nodes.retired_by is 'Who retired it.';

create table farebox_private.received_sequences (
    node text not null,
    epoch bigint not null,
    ranges int8multirange not null,
    constraint received_sequences_pkey primary key (node, epoch)
);
comment on table farebox_private.received_sequences is 'Numbers of settlements that were booked, kept for ever: they show holes and what retention removed.';
comment on column farebox_private.received_sequences.node is 'The proxy.';
comment on column farebox_private.received_sequences.epoch is 'Its process start.';
comment on column farebox_private.received_sequences.ranges is 'Numbers booked.';

create table farebox_private.audit_log (
    audit_id bigint generated always as identity,
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    tenant_id text,
    entity_kind text,
    entity_id text,
    request_id text,
    details jsonb not null default '{}',
    constraint audit_log_pkey primary key (audit_id)
);
create index audit_log_at on farebox_private.audit_log (at desc);
comment on table farebox_private.audit_log is 'Who did what; only grows.';
comment on column farebox_private.audit_log.audit_id is 'Grows.';
comment on column farebox_private.audit_log.at is 'When.';
comment on column farebox_private.audit_log.actor is 'Who.';
comment on column farebox_private.audit_log.action is 'What, as noun.verb.';
comment on column farebox_private.audit_log.tenant_id is 'The tenant it concerns.';
comment on column farebox_private.audit_log.entity_kind is 'Kind of the thing it was done to.';
comment on column farebox_private.audit_log.entity_id is 'The thing it was done to.';
comment on column farebox_private.audit_log.request_id is 'The API request.';
comment on column farebox_private.audit_log.details is 'What changed; never a secret.';

create table farebox_private.idempotency_keys (
    principal text not null,
    idempotency_key text not null,
    request_sha256 bytea not null,
    status integer,
    response jsonb,
    created_at timestamptz not null default now(),
    constraint idempotency_keys_pkey primary key (principal, idempotency_key)
);
create index idempotency_keys_created on farebox_private.idempotency_keys (created_at);
comment on table farebox_private.idempotency_keys is 'Answers to POSTs that carried an Idempotency-Key, for 24 hours.';
comment on column farebox_private.idempotency_keys.principal is 'Who asked.';
comment on column farebox_private.idempotency_keys.idempotency_key is 'The key as sent.';
comment on column farebox_private.idempotency_keys.request_sha256 is 'SHA-256 of method, path and body; another body with the same key is refused.';
comment on column farebox_private.idempotency_keys.status is 'Status of the answer; null: still running.';
comment on column farebox_private.idempotency_keys.response is 'The answer, without secrets.';
comment on column farebox_private.idempotency_keys.created_at is 'When it was asked.';

create table farebox_private.limit_events (
    limit_event_id uuid not null,
    limit_id uuid not null,
    tenant_id text,
    at timestamptz not null,
    kind text not null,
    meter text not null,
    used numeric,
    amount numeric,
    node text,
    constraint limit_events_pkey primary key (limit_event_id),
    constraint kind_is_known check (kind in ('warning', 'refusal', 'cut', 'dry_run', 'reset'))
);
create index limit_events_of_tenant on farebox_private.limit_events (tenant_id, at desc);
comment on table farebox_private.limit_events is 'When limits warned, refused or cut.';
comment on column farebox_private.limit_events.limit_event_id is 'Identifier.';
comment on column farebox_private.limit_events.limit_id is 'The limit.';
comment on column farebox_private.limit_events.tenant_id is 'The tenant that met it.';
comment on column farebox_private.limit_events.at is 'When.';
comment on column farebox_private.limit_events.kind is 'warning, refusal, cut, dry_run or reset.';
comment on column farebox_private.limit_events.meter is 'What was counted.';
comment on column farebox_private.limit_events.used is 'How much was used.';
comment on column farebox_private.limit_events.amount is 'How much is allowed.';
comment on column farebox_private.limit_events.node is 'The proxy.';

do $security$
declare
    table_name text;
begin
    foreach table_name in array array[
        'ingest_tokens', 'nodes', 'received_sequences', 'audit_log', 'idempotency_keys'
    ]
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
alter table farebox_private.limit_events enable row level security;
alter table farebox_private.limit_events force row level security;
create policy own_rows on farebox_private.limit_events
    to public
    using ((select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()));

grant select, insert, update on farebox_private.ingest_tokens, farebox_private.nodes, farebox_private.received_sequences
    to farebox_collector;
grant select, insert on farebox_private.audit_log, farebox_private.limit_events to farebox_collector;
grant select, insert, update, delete on farebox_private.idempotency_keys to farebox_collector;
grant delete on farebox_private.idempotency_keys, farebox_private.directory_changes to farebox_retention;

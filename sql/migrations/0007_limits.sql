-- Limits of every scope, what is used of them, and what each proxy may still spend without asking.

alter table farebox_private.limits
    add column project text,
    add column agent text,
    add column provider text,
    add column per text[] not null default '{}',
    add column basis text not null default 'billed',
    add column fail text not null default 'closed',
    drop constraint window_is_known,
    drop constraint action_is_known,
    add constraint window_is_known check (window_kind in ('second', 'minute', 'hour', 'day', 'week', 'month', 'concurrent')),
    add constraint action_is_known check (action in ('refuse', 'warn')),
    add constraint basis_is_known check (basis in ('billed', 'cost')),
    add constraint fail_is_known check (fail in ('closed', 'open')),
    add constraint per_is_known check (per <@ array['tenant', 'customer', 'project', 'agent', 'key', 'provider', 'upstream', 'model']),
    add constraint concurrency_has_no_window check ((meter = 'concurrency') = (window_kind = 'concurrent'));
comment on column farebox_private.limits.project is 'The project it binds; null: all.';
comment on column farebox_private.limits.agent is 'The agent it binds; null: all.';
comment on column farebox_private.limits.provider is 'The vendor it binds; null: all.';
comment on column farebox_private.limits.per is 'Dimensions each value of which has the amount for itself.';
comment on column farebox_private.limits.basis is 'For usd: billed (what the tenant owes) or cost (what the provider charges the operator).';
comment on column farebox_private.limits.fail is 'What holds while it cannot be checked: closed (refused) or open (passes).';
comment on column farebox_private.limits.meter is 'What is counted: requests, concurrency, tokens, a meter, or usd.';
comment on column farebox_private.limits.action is 'What happens past it: refuse or warn.';

create table farebox_private.limit_nodes (
    node text not null,
    epoch bigint not null,
    closed_epoch bigint not null default -1,
    share_of integer not null default 0,
    renewed_at timestamptz not null default now(),
    lapses_at timestamptz not null,
    constraint limit_nodes_pkey primary key (node),
    constraint node_is_id check (farebox_private.is_id(node)),
    constraint share_not_negative check (share_of >= 0)
);
comment on table farebox_private.limit_nodes is 'Proxies that spend from limits.';
comment on column farebox_private.limit_nodes.node is 'The proxy.';
comment on column farebox_private.limit_nodes.epoch is 'Its present start; an older one is not listened to.';
comment on column farebox_private.limit_nodes.closed_epoch is 'What this start and earlier ones spent is taken over.';
comment on column farebox_private.limit_nodes.share_of is 'The proxy may spend one part in so many of a counter that it has no lease of yet; 0: nothing.';
comment on column farebox_private.limit_nodes.renewed_at is 'When it last spoke.';
comment on column farebox_private.limit_nodes.lapses_at is 'From then on only what it has reported counts.';

create table farebox_private.limit_usage (
    limit_id uuid not null references farebox_private.limits (limit_id) on delete cascade,
    scope text not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    tenant_id text,
    scope_values jsonb not null default '{}',
    used numeric not null default 0,
    would_refuse bigint not null default 0,
    contended_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint limit_usage_pkey primary key (limit_id, scope, window_start),
    constraint used_not_negative check (used >= 0)
);
create index limit_usage_contended on farebox_private.limit_usage (contended_at) where contended_at is not null;
create index limit_usage_end on farebox_private.limit_usage (window_end);
comment on table farebox_private.limit_usage is 'One counter: a limit, the values it is counted for, and a window.';
comment on column farebox_private.limit_usage.limit_id is 'The limit.';
comment on column farebox_private.limit_usage.scope is 'The values of the limit''s per, as a JSON array in text; [] when it has none.';
comment on column farebox_private.limit_usage.window_start is 'When the window began; 1970 for concurrency.';
comment on column farebox_private.limit_usage.window_end is 'When the window ends; infinity for concurrency.';
comment on column farebox_private.limit_usage.tenant_id is 'The tenant, when the counter is of one.';
comment on column farebox_private.limit_usage.scope_values is 'The values of the limit''s per, by name.';
comment on column farebox_private.limit_usage.used is 'Used under leases that are closed; that of open ones is on them.';
comment on column farebox_private.limit_usage.would_refuse is 'Calls that a dry run would have refused, under closed leases.';
comment on column farebox_private.limit_usage.contended_at is 'When a proxy last asked for more than was free; the others then return what they do not need.';
comment on column farebox_private.limit_usage.updated_at is 'When a proxy last reported.';

create table farebox_private.limit_leases (
    limit_id uuid not null,
    scope text not null,
    window_start timestamptz not null,
    node text not null,
    tenant_id text,
    epoch bigint not null,
    granted numeric not null,
    spent numeric not null,
    reserved numeric not null,
    would_refuse bigint not null default 0,
    renewed_at timestamptz not null default now(),
    constraint limit_leases_pkey primary key (limit_id, scope, window_start, node),
    constraint limit_leases_counter_fkey foreign key (limit_id, scope, window_start)
        references farebox_private.limit_usage (limit_id, scope, window_start) on delete cascade,
    constraint amounts_not_negative check (granted >= 0 and spent >= 0 and reserved >= 0)
);
create index limit_leases_node on farebox_private.limit_leases (node, epoch);
comment on table farebox_private.limit_leases is 'What a proxy may spend of a counter without asking.';
comment on column farebox_private.limit_leases.limit_id is 'The limit.';
comment on column farebox_private.limit_leases.scope is 'The counter''s values.';
comment on column farebox_private.limit_leases.window_start is 'The counter''s window.';
comment on column farebox_private.limit_leases.node is 'The proxy.';
comment on column farebox_private.limit_leases.tenant_id is 'The tenant, when the counter is of one.';
comment on column farebox_private.limit_leases.epoch is 'The start of the proxy that holds it.';
comment on column farebox_private.limit_leases.granted is 'Spent and reserved may come to this.';
comment on column farebox_private.limit_leases.spent is 'Settled, as last reported.';
comment on column farebox_private.limit_leases.reserved is 'Held for calls that run, as last reported.';
comment on column farebox_private.limit_leases.would_refuse is 'Calls that a dry run would have refused, as last reported.';
comment on column farebox_private.limit_leases.renewed_at is 'When it was last reported.';

alter table farebox_private.limit_events
    add column scope text not null default '[]',
    add column window_start timestamptz,
    add column sent_at timestamptz,
    add column expires_at timestamptz,
    add constraint one_of_a_window unique (limit_id, scope, window_start, kind);
comment on column farebox_private.limit_events.scope is 'The counter''s values.';
comment on column farebox_private.limit_events.window_start is 'The window it happened in.';
comment on column farebox_private.limit_events.sent_at is 'When the proxy''s report of it came in.';
comment on column farebox_private.limit_events.expires_at is 'When the window ends, and with it what the event says.';

create table farebox_private.agents (
    agent_no bigint generated always as identity,
    tenant_id text not null,
    agent text not null,
    first_seen_at timestamptz not null default now(),
    constraint agents_pkey primary key (tenant_id, agent),
    constraint agent_no_is_unique unique (agent_no),
    constraint agent_is_id check (farebox_private.is_id(agent))
);
comment on table farebox_private.agents is 'Agents of tenants that may have only so many.';
comment on column farebox_private.agents.agent_no is 'Grows; proxies read what is past their last one.';
comment on column farebox_private.agents.tenant_id is 'The tenant.';
comment on column farebox_private.agents.agent is 'The agent.';
comment on column farebox_private.agents.first_seen_at is 'When a call first named it.';

alter table farebox_private.virtual_keys add column allowed_tools text[];
comment on column farebox_private.virtual_keys.allowed_tools is 'Functions and hosted tools its calls may offer a model; null: all.';

-- What was counted is of no use to a limit that counts something else.
create function farebox_private.forget_other_usage() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $function$
begin
    if (old.meter, old.window_kind, old.basis, old.per) is distinct from (new.meter, new.window_kind, new.basis, new.per) then
        delete from farebox_private.limit_usage where limit_usage.limit_id = new.limit_id;
    end if;
    return null;
end
$function$;
comment on function farebox_private.forget_other_usage() is
    'Trigger: a limit that counts something else than before begins anew.';
create trigger forget_other_usage
    after update on farebox_private.limits
    for each row execute function farebox_private.forget_other_usage();

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['limit_usage', 'limit_leases', 'agents']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
        execute format(
            'create policy own_rows on farebox_private.%I to public using ('
            '(select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()))',
            table_name
        );
    end loop;
end
$security$;
-- No name of a tenant is in it, and nobody but the views may read it.
alter table farebox_private.limit_nodes enable row level security;
alter table farebox_private.limit_nodes force row level security;
create policy all_rows on farebox_private.limit_nodes to public using (true);

grant select on farebox_private.limit_usage, farebox_private.limit_leases, farebox_private.limit_nodes, farebox_private.agents
    to farebox_collector;

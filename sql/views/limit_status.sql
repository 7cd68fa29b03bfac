create or replace view farebox.limit_status as
with present as (
    select
        limits.*,
        coalesce(
            case when tenants.time_zone_from > (now() at time zone tenants.time_zone_before)::date then tenants.time_zone_before end,
            tenants.time_zone,
            'UTC'
        ) as zone
    from farebox_private.limits
    left join farebox_private.tenants using (tenant_id)
    where (limits.expires_at is null or limits.expires_at > now())
        and ((select farebox_private.sees_all()) or (limits.basis <> 'cost' and limits.tenant_id is not null))
),
counters as (
    select
        present.*,
        usage.scope,
        usage.scope_values,
        usage.tenant_id as counter_tenant_id,
        usage.window_start,
        usage.window_end,
        usage.updated_at as reported_at,
        case when usage.limit_id is not null then usage.used + coalesce(lease.spent, 0) else 0 end as used,
        coalesce(lease.reserved, 0) as reserved,
        coalesce(lease.granted, 0) as leased,
        coalesce(usage.would_refuse, 0) + coalesce(lease.would_refuse, 0) as would_refuse
    from present
    left join farebox_private.limit_usage as usage
        on usage.limit_id = present.limit_id and usage.window_start <= now() and usage.window_end > now()
    left join lateral (
        select
            sum(limit_leases.spent) as spent,
            sum(case when node.is_live then limit_leases.reserved else 0 end) as reserved,
            sum(case when node.is_live then limit_leases.granted else limit_leases.spent end) as granted,
            sum(limit_leases.would_refuse)::bigint as would_refuse
        from farebox_private.limit_leases,
            lateral (
                select exists (
                    select from farebox_private.limit_nodes
                    where limit_nodes.node = limit_leases.node and limit_nodes.lapses_at > now()
                ) as is_live
            ) as node
        where (limit_leases.limit_id, limit_leases.scope, limit_leases.window_start)
            = (usage.limit_id, usage.scope, usage.window_start)
    ) as lease on true
)
select
    counters.limit_id,
    coalesce(counters.tenant_id, counters.counter_tenant_id) as tenant_id,
    counters.scope_values,
    counters.meter,
    counters.basis,
    counters.amount,
    counters.window_kind,
    counters.action,
    counters.dry_run,
    counters.used,
    counters.reserved,
    greatest(counters.amount - counters.used - counters.reserved, 0) as remaining,
    case when counters.amount > 0 then round(100 * counters.used / counters.amount, 2) end as percent,
    case
        when counters.window_kind in ('second', 'minute', 'concurrent') and counters.window_end is null then null
        when counters.window_start is not null then counters.window_start
        else date_trunc(counters.window_kind, now() at time zone counters.zone) at time zone counters.zone
    end as window_start,
    case
        when counters.window_kind = 'concurrent' then null
        when counters.window_end is not null then counters.window_end
        when counters.window_kind in ('second', 'minute') then null
        else (date_trunc(counters.window_kind, now() at time zone counters.zone) + ('1 ' || counters.window_kind)::interval)
            at time zone counters.zone
    end as resets_at,
    case when (select farebox_private.sees_all()) then counters.leased end as leased,
    counters.would_refuse,
    counters.expires_at,
    counters.reported_at
from counters;

grant select on farebox.limit_status to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.limit_status is 'How far each limit that holds is used in its present window. Tenants see their own, but none on cost and none wider than they are. Rates by the second and the minute are counted in the proxies alone.';
comment on column farebox.limit_status.limit_id is 'The limit.';
comment on column farebox.limit_status.tenant_id is 'The tenant it counts; null: several.';
comment on column farebox.limit_status.scope_values is 'The values of the limit''s per that are counted here, by name.';
comment on column farebox.limit_status.meter is 'What is counted.';
comment on column farebox.limit_status.basis is 'For usd: billed or cost.';
comment on column farebox.limit_status.amount is 'How much a window allows.';
comment on column farebox.limit_status.window_kind is 'The window.';
comment on column farebox.limit_status.action is 'What happens past it.';
comment on column farebox.limit_status.dry_run is 'Counted and reported, never enforced.';
comment on column farebox.limit_status.used is 'Settled in this window, as last reported.';
comment on column farebox.limit_status.reserved is 'Held for calls that run, as last reported.';
comment on column farebox.limit_status.remaining is 'What is left: amount without used and reserved, never below zero.';
comment on column farebox.limit_status.percent is 'Used in percent of the amount.';
comment on column farebox.limit_status.window_start is 'When the window began; null: it has none.';
comment on column farebox.limit_status.resets_at is 'When the next window begins; null: it has none.';
comment on column farebox.limit_status.leased is 'What proxies may spend without asking, spent and reserved included. Null for tenants.';
comment on column farebox.limit_status.would_refuse is 'Calls that a dry run would have refused.';
comment on column farebox.limit_status.expires_at is 'When the limit stops to hold; null: never.';
comment on column farebox.limit_status.reported_at is 'When a proxy last reported; null: not yet.';

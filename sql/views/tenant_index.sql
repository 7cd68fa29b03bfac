create or replace view farebox.tenant_index as
select
    activity.tenant_id,
    tenants.name,
    tenants.status,
    (
        select count(*)
        from (
            select there.session_id
            from (
                select events.session_id, 1 as events
                from farebox_private.usage_events as events
                where events.tenant_id = activity.tenant_id
                union all
                select adjustments.session_id, adjustments.events
                from farebox_private.adjustments
                where adjustments.tenant_id = activity.tenant_id
                    and adjustments.events <> 0
            ) as there
            where there.session_id is not null
            group by there.session_id
            -- What was moved away as a whole is not here any more.
            having sum(there.events) > 0
        ) as sessions
    ) as session_count,
    sums.request_count,
    sums.total_cost_usd,
    sums.total_billed_usd,
    sums.unpriced_events,
    activity.first_seen,
    activity.last_seen
from farebox_private.tenant_activity as activity
left join farebox_private.tenants using (tenant_id)
left join lateral (
    select
        coalesce(sum(daily.quantity) filter (where daily.meter = 'calls'), 0)::bigint as request_count,
        trim_scale(sum(daily.cost_usd) filter (
            where (select farebox_private.sees_all()) or daily.paid_by <> 'operator'
        )) as total_cost_usd,
        trim_scale(coalesce(sum(daily.billed_usd), 0)) as total_billed_usd,
        coalesce(sum(daily.unpriced_events), 0)::bigint as unpriced_events
    from farebox_private.usage_daily as daily
    where daily.tenant_id = activity.tenant_id
) as sums on true;

grant select on farebox.tenant_index to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.tenant_index is 'Tenants that were seen, with their current sums. Order by last_seen desc for the most recent first.';
comment on column farebox.tenant_index.tenant_id is 'The tenant.';
comment on column farebox.tenant_index.name is 'A name for people.';
comment on column farebox.tenant_index.status is 'active, suspended (refused) or archived (refused and hidden).';
comment on column farebox.tenant_index.session_count is 'Different sessions.';
comment on column farebox.tenant_index.request_count is 'Calls.';
comment on column farebox.tenant_index.total_cost_usd is 'What the providers charge, adjustments included; for tenants only what they pay themselves, else null.';
comment on column farebox.tenant_index.total_billed_usd is 'What the operator charges, adjustments included.';
comment on column farebox.tenant_index.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.tenant_index.first_seen is 'Earliest started_at of its events.';
comment on column farebox.tenant_index.last_seen is 'Latest started_at of its events.';

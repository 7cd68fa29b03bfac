create or replace view farebox.tenant_index as
select
    activity.tenant_id,
    tenants.name,
    tenants.status,
    (
        select count(*)
        from farebox_private.tenant_sessions as sessions
        where sessions.tenant_id = activity.tenant_id
    ) + (
        -- Of those that a correction moved here or away: whether anything of it is here, and whether it is counted.
        select coalesce(sum(
            (0 < (
                select count(*)
                from farebox_private.usage_events as events
                where events.tenant_id = activity.tenant_id and events.session_id = moved.session_id
            ) + (
                select coalesce(sum(adjustments.events), 0)
                from farebox_private.adjustments
                where adjustments.tenant_id = activity.tenant_id and adjustments.session_id = moved.session_id
            ))::integer
            - (exists (
                select
                from farebox_private.tenant_sessions as sessions
                where sessions.tenant_id = activity.tenant_id
                    and sessions.session = farebox_private.session_digest(moved.session_id)
            ))::integer
        ), 0)
        from (
            select distinct adjustments.session_id
            from farebox_private.adjustments
            where adjustments.tenant_id = activity.tenant_id
                and adjustments.events <> 0
                and adjustments.session_id is not null
        ) as moved
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
        coalesce(sum(totals.quantity) filter (where totals.meter = 'calls'), 0)::bigint as request_count,
        trim_scale(sum(totals.cost_usd) filter (
            where (select farebox_private.sees_all()) or totals.paid_by <> 'operator'
        )) as total_cost_usd,
        trim_scale(coalesce(sum(totals.billed_usd), 0)) as total_billed_usd,
        coalesce(sum(totals.unpriced_events), 0)::bigint as unpriced_events
    from farebox_private.usage_totals as totals
    where totals.tenant_id = activity.tenant_id
) as sums on true;

grant select on farebox.tenant_index to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.tenant_index is 'Tenants that were seen, with their current sums. Order by last_seen desc for the most recent first.';
comment on column farebox.tenant_index.tenant_id is 'The tenant.';
comment on column farebox.tenant_index.name is 'A name for people.';
comment on column farebox.tenant_index.status is 'active, suspended (refused) or archived (refused and hidden).';
comment on column farebox.tenant_index.session_count is 'Different sessions, those of events that retention removed included.';
comment on column farebox.tenant_index.request_count is 'Calls.';
comment on column farebox.tenant_index.total_cost_usd is 'What the providers charge, adjustments included; for tenants only what they pay themselves, else null.';
comment on column farebox.tenant_index.total_billed_usd is 'What the operator charges, adjustments included.';
comment on column farebox.tenant_index.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.tenant_index.first_seen is 'Earliest started_at of its events.';
comment on column farebox.tenant_index.last_seen is 'Latest started_at of its events.';

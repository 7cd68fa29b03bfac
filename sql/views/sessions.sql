create or replace view farebox.sessions as
select
    events.tenant_id,
    events.session_id,
    max(events.customer_id) as customer_id,
    max(events.agent) as agent,
    max(events.environment) as environment,
    min(events.started_at) as started_at,
    max(coalesce(events.ended_at, events.started_at)) as ended_at,
    count(*) filter (where events.attempt = 1 and events.part = 1) as request_count,
    count(*) as event_count,
    count(*) filter (where events.ending not in ('complete', 'continues')) as error_count,
    trim_scale(sum(events.cost_usd + coalesce(adjusted.cost_usd, 0)) filter (
        where (select farebox_private.sees_all()) or events.paid_by <> 'operator'
    )) as total_cost_usd,
    trim_scale(sum(events.billed_usd + coalesce(adjusted.billed_usd, 0))) as total_billed_usd,
    count(*) filter (where events.pricing in ('unpriced', 'partial')) as unpriced_events,
    count(*) filter (where events.pricing = 'unknown') as unknown_events
from farebox_private.usage_events as events
left join (
    select
        adjustments.event_id,
        sum(adjustments.cost_usd) as cost_usd,
        sum(adjustments.billed_usd) as billed_usd
    from farebox_private.adjustments
    group by adjustments.event_id
) as adjusted using (event_id)
where events.session_id is not null
group by events.tenant_id, events.session_id;

grant select on farebox.sessions to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.sessions is 'Conversations, with their current sums.';
comment on column farebox.sessions.tenant_id is 'The tenant.';
comment on column farebox.sessions.session_id is 'The conversation, unique in its tenant.';
comment on column farebox.sessions.customer_id is 'The end customer.';
comment on column farebox.sessions.agent is 'The agent.';
comment on column farebox.sessions.environment is 'live or test.';
comment on column farebox.sessions.started_at is 'Start of its first call.';
comment on column farebox.sessions.ended_at is 'End of its last call.';
comment on column farebox.sessions.request_count is 'Calls.';
comment on column farebox.sessions.event_count is 'Events: attempts and parts.';
comment on column farebox.sessions.error_count is 'Events that did not end completely.';
comment on column farebox.sessions.total_cost_usd is 'What the providers charge, adjustments included; for tenants only what they pay themselves. Null: nothing known.';
comment on column farebox.sessions.total_billed_usd is 'What the operator charges, adjustments included. Null: nothing known.';
comment on column farebox.sessions.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.sessions.unknown_events is 'Events of which no usage is known.';

create or replace view farebox.runs as
select
    events.tenant_id,
    events.run_id,
    max(events.session_id) as session_id,
    max(coalesce(customers.customer_id, events.customer_id)) as customer_id,
    max(events.project) as project,
    max(events.agent) as agent,
    max(events.revision) as revision,
    max(events.environment) as environment,
    min(events.started_at) as started_at,
    max(coalesce(events.ended_at, events.started_at)) as ended_at,
    count(distinct coalesce(events.span_id, events.parent_span_id)) as span_count,
    count(*) filter (where events.attempt = 1 and events.part = 1) as request_count,
    count(*) as event_count,
    count(*) filter (where events.ending not in ('complete', 'continues')) as error_count,
    trim_scale(sum(coalesce(events.cost_usd, 0) + coalesce(adjusted.cost_usd, 0)) filter (
        where ((select farebox_private.sees_all()) or events.paid_by <> 'operator')
            and (events.cost_usd is not null or adjusted.cost_usd is not null)
    )) as total_cost_usd,
    trim_scale(sum(coalesce(events.billed_usd, 0) + coalesce(adjusted.billed_usd, 0)) filter (
        where events.billed_usd is not null or adjusted.billed_usd is not null
    )) as total_billed_usd,
    count(*) filter (where events.pricing in ('unpriced', 'partial')) as unpriced_events,
    count(*) filter (where events.pricing = 'unknown') as unknown_events
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
left join lateral (
    select
        sum(adjustments.cost_usd) as cost_usd,
        sum(adjustments.billed_usd) as billed_usd
    from farebox_private.adjustments
    where adjustments.event_id = events.event_id
        and adjustments.tenant_id is not distinct from events.tenant_id
) as adjusted on true
where events.run_id is not null
group by events.tenant_id, events.run_id;

grant select on farebox.runs to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.runs is 'Runs of agents, by x-farebox-run or the trace id of traceparent, with their current sums.';
comment on column farebox.runs.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.runs.run_id is 'The caller''s own id, or the trace id, unique in its tenant.';
comment on column farebox.runs.session_id is 'A conversation.';
comment on column farebox.runs.customer_id is 'The tenant''s end customer.';
comment on column farebox.runs.project is 'A project of the tenant.';
comment on column farebox.runs.agent is 'An agent of the tenant.';
comment on column farebox.runs.revision is 'The agent''s revision.';
comment on column farebox.runs.environment is 'live or test.';
comment on column farebox.runs.started_at is 'Begin of its first call.';
comment on column farebox.runs.ended_at is 'End of its latest call, or that call''s begin where the end is not known.';
comment on column farebox.runs.span_count is 'Steps in which something was called.';
comment on column farebox.runs.request_count is 'Calls: attempts after the first and later parts of a socket are not counted.';
comment on column farebox.runs.event_count is 'Rows of usage_events.';
comment on column farebox.runs.error_count is 'Events that did not end complete.';
comment on column farebox.runs.total_cost_usd is 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';
comment on column farebox.runs.total_billed_usd is 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';
comment on column farebox.runs.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.runs.unknown_events is 'Events of which no usage is known.';

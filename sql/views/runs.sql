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
    max(events.ended_at) as ended_at,
    count(distinct events.span_id) as span_count,
    sum(events.requests)::bigint as request_count,
    sum(events.events)::bigint as event_count,
    sum(events.errors)::bigint as error_count,
    trim_scale(sum(events.cost_usd)) as total_cost_usd,
    trim_scale(sum(events.billed_usd)) as total_billed_usd,
    sum(events.unpriced_events)::bigint as unpriced_events,
    sum(events.unknown_events)::bigint as unknown_events
from (
    select
        events.tenant_id,
        events.run_id,
        events.customer_id,
        events.agent,
        events.project,
        events.environment,
        events.session_id,
        events.revision,
        coalesce(events.span_id, events.parent_span_id) as span_id,
        events.started_at,
        coalesce(events.ended_at, events.started_at) as ended_at,
        (events.attempt = 1 and events.part = 1)::integer::bigint as requests,
        1::bigint as events,
        (events.ending not in ('complete', 'continues'))::integer::bigint as errors,
        case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.cost_usd end as cost_usd,
        events.billed_usd,
        (events.pricing in ('unpriced', 'partial'))::integer::bigint as unpriced_events,
        (events.pricing = 'unknown')::integer::bigint as unknown_events
    from farebox_private.usage_events as events
    where events.run_id is not null
    union all
    -- Corrections, and what was moved here or away; of a call that was moved the operator sees all.
    select
        adjustments.tenant_id,
        adjustments.run_id,
        adjustments.customer_id,
        moved.agent,
        adjustments.project,
        adjustments.environment,
        adjustments.session_id,
        moved.revision,
        coalesce(moved.span_id, moved.parent_span_id),
        adjustments.started_at,
        coalesce(moved.ended_at, adjustments.started_at),
        case when adjustments.meter = 'calls' then adjustments.quantity::bigint else 0 end,
        adjustments.events,
        case when moved.ending not in ('complete', 'continues') then adjustments.events else 0 end,
        case when (select farebox_private.sees_all()) or adjustments.paid_by <> 'operator' then adjustments.cost_usd end,
        adjustments.billed_usd,
        adjustments.unpriced_events,
        case when adjustments.pricing = 'unknown' then adjustments.events else 0 end
    from farebox_private.adjustments
    left join farebox_private.usage_events as moved
        on moved.event_id = adjustments.event_id and adjustments.events <> 0
    where adjustments.run_id is not null
) as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
group by events.tenant_id, events.run_id
-- What was moved away as a whole is not here any more.
having sum(events.events) > 0;

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

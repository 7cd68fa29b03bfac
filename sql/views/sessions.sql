create or replace view farebox.sessions as
select
    events.tenant_id,
    events.session_id,
    max(coalesce(customers.customer_id, events.customer_id)) as customer_id,
    max(events.agent) as agent,
    max(events.environment) as environment,
    min(events.started_at) as started_at,
    max(events.ended_at) as ended_at,
    sum(events.requests)::bigint as request_count,
    sum(events.events)::bigint as event_count,
    sum(events.errors)::bigint as error_count,
    trim_scale(sum(events.cost_usd)) as total_cost_usd,
    trim_scale(sum(events.billed_usd)) as total_billed_usd,
    sum(events.unpriced_events)::bigint as unpriced_events,
    sum(events.unknown_events)::bigint as unknown_events,
    max(events.project) as project,
    array_agg(distinct farebox_private.modality(events.endpoint)) as modalities,
    array_agg(distinct events.provider) as providers,
    max(events.ended_at) > now() - farebox_private.session_idle() as is_open,
    case
        when max(events.ended_at) <= now() - farebox_private.session_idle()
        then max(events.ended_at) + farebox_private.session_idle()
    end as closed_at
from (
    select
        events.tenant_id,
        events.session_id,
        events.customer_id,
        events.agent,
        events.project,
        events.environment,
        events.provider,
        events.endpoint,
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
    where events.session_id is not null
    union all
    -- Corrections, and what was moved here or away; of a call that was moved the operator sees all.
    select
        adjustments.tenant_id,
        adjustments.session_id,
        adjustments.customer_id,
        moved.agent,
        adjustments.project,
        adjustments.environment,
        adjustments.provider,
        adjustments.endpoint,
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
    where adjustments.session_id is not null
) as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
group by events.tenant_id, events.session_id
-- What was moved away as a whole is not here any more.
having sum(events.events) > 0;

grant select on farebox.sessions to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.sessions is 'Conversations, one for each tenant and session id, with their current sums. A session in which nothing happened for 30 minutes is closed; a later call under the same id opens it again.';
comment on column farebox.sessions.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.sessions.session_id is 'The caller''s own id, unique in its tenant.';
comment on column farebox.sessions.customer_id is 'The tenant''s end customer.';
comment on column farebox.sessions.agent is 'An agent of the tenant.';
comment on column farebox.sessions.environment is 'live or test.';
comment on column farebox.sessions.started_at is 'Begin of its first call.';
comment on column farebox.sessions.ended_at is 'End of its latest call, or that call''s begin where the end is not known.';
comment on column farebox.sessions.request_count is 'Calls: attempts after the first and later parts of a socket are not counted.';
comment on column farebox.sessions.event_count is 'Rows of usage_events.';
comment on column farebox.sessions.error_count is 'Events that did not end complete.';
comment on column farebox.sessions.total_cost_usd is 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';
comment on column farebox.sessions.total_billed_usd is 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';
comment on column farebox.sessions.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.sessions.unknown_events is 'Events of which no usage is known.';
comment on column farebox.sessions.project is 'A project of the tenant.';
comment on column farebox.sessions.modalities is 'What it was made of: text, speech_to_text, text_to_speech, voice, image, video, ocr, retrieval, batch, other.';
comment on column farebox.sessions.providers is 'The vendors called.';
comment on column farebox.sessions.is_open is 'Whether something happened in the last 30 minutes.';
comment on column farebox.sessions.closed_at is 'When it counted as closed, 30 minutes after ended_at; null while open.';

create or replace view farebox.sessions as
select
    events.tenant_id,
    events.session_id,
    max(coalesce(customers.customer_id, events.customer_id)) as customer_id,
    max(events.agent) as agent,
    max(events.environment) as environment,
    min(events.started_at) as started_at,
    max(coalesce(events.ended_at, events.started_at)) as ended_at,
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
    count(*) filter (where events.pricing = 'unknown') as unknown_events,
    max(events.project) as project,
    array_agg(distinct farebox_private.modality(events.endpoint)) as modalities,
    array_agg(distinct events.provider) as providers,
    max(coalesce(events.ended_at, events.started_at)) > now() - farebox_private.session_idle() as is_open,
    case
        when max(coalesce(events.ended_at, events.started_at)) <= now() - farebox_private.session_idle()
        then max(coalesce(events.ended_at, events.started_at)) + farebox_private.session_idle()
    end as closed_at
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
where events.session_id is not null
group by events.tenant_id, events.session_id;

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

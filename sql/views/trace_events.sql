create or replace view farebox.trace_events as
select
    events.event_id as id,
    events.call_id,
    events.run_id,
    events.span_id,
    events.parent_span_id,
    events.section,
    events.session_id,
    events.tenant_id,
    coalesce(customers.customer_id, events.customer_id) as customer_id,
    events.project,
    events.agent,
    events.provider,
    events.endpoint,
    coalesce(events.model, events.model_requested) as model,
    case when counted.usage <> '{}' then (
            coalesce((counted.usage ->> 'input_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_write_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_write_1h_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_write_12h_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'input_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'input_image_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'input_video_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_image_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_video_tokens')::numeric, 0)
        ) end as input_tokens,
    case when counted.usage <> '{}' then (
            coalesce((counted.usage ->> 'cache_read_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_image_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'cache_read_video_tokens')::numeric, 0)
        ) end as cached_tokens,
    case when counted.usage <> '{}' then (
            coalesce((counted.usage ->> 'output_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'reasoning_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_image_tokens')::numeric, 0)
        ) end as output_tokens,
    counted.usage,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.cost_usd end as cost_usd,
    events.billed_usd,
    events.pricing,
    events.status as status_code,
    case when events.ending in ('complete', 'continues') then 'ok' else 'error' end as status,
    events.ending,
    events.duration_ms as latency_ms,
    events.ttft_ms,
    events.streaming,
    events.metadata,
    events.started_at as created_at,
    events.ended_at
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
-- Once a row, not once a meter.
cross join lateral (select events.usage::jsonb as usage offset 0) as counted;

grant select on farebox.trace_events to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.trace_events is 'Events under the names that tracing tools use.';
comment on column farebox.trace_events.id is 'The event.';
comment on column farebox.trace_events.call_id is 'The call.';
comment on column farebox.trace_events.run_id is 'A run of an agent.';
comment on column farebox.trace_events.span_id is 'A step of the run.';
comment on column farebox.trace_events.parent_span_id is 'The step above it.';
comment on column farebox.trace_events.section is 'A part of the product.';
comment on column farebox.trace_events.session_id is 'A conversation.';
comment on column farebox.trace_events.tenant_id is 'The tenant.';
comment on column farebox.trace_events.customer_id is 'The end customer.';
comment on column farebox.trace_events.project is 'A project.';
comment on column farebox.trace_events.agent is 'An agent.';
comment on column farebox.trace_events.provider is 'The vendor.';
comment on column farebox.trace_events.endpoint is 'The kind of call.';
comment on column farebox.trace_events.model is 'The model billed, or asked for.';
comment on column farebox.trace_events.input_tokens is 'All input tokens, cached ones included; null: nothing known.';
comment on column farebox.trace_events.cached_tokens is 'Input tokens served from a cache.';
comment on column farebox.trace_events.output_tokens is 'All output tokens, reasoning included.';
comment on column farebox.trace_events.usage is 'The lines'' sum, exact decimals as strings by meter.';
comment on column farebox.trace_events.cost_usd is 'What the provider charges. Tenants see it where the operator does not pay.';
comment on column farebox.trace_events.billed_usd is 'What the operator charges.';
comment on column farebox.trace_events.pricing is 'How far it is priced.';
comment on column farebox.trace_events.status_code is 'The upstream''s HTTP status.';
comment on column farebox.trace_events.status is 'ok or error.';
comment on column farebox.trace_events.ending is 'How the answer ended.';
comment on column farebox.trace_events.latency_ms is 'To the answer''s last byte.';
comment on column farebox.trace_events.ttft_ms is 'To the first generated output.';
comment on column farebox.trace_events.streaming is 'Whether it was a stream.';
comment on column farebox.trace_events.metadata is 'The caller''s labels.';
comment on column farebox.trace_events.created_at is 'When the call started.';
comment on column farebox.trace_events.ended_at is 'When it ended.';

create or replace view farebox.requests as
select
    events.event_id as request_id,
    events.call_id,
    events.tenant_id,
    events.tenant_id as organization_id,
    coalesce(customers.customer_id, events.customer_id) as user_id,
    coalesce(customers.customer_id, events.customer_id) as customer_id,
    events.session_id,
    events.key_id as api_key_id,
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
        ) end as prompt_tokens,
    case when counted.usage <> '{}' then (
            coalesce((counted.usage ->> 'output_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'reasoning_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_image_tokens')::numeric, 0)
        ) end as completion_tokens,
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
            + coalesce((counted.usage ->> 'output_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'reasoning_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_audio_tokens')::numeric, 0)
            + coalesce((counted.usage ->> 'output_image_tokens')::numeric, 0)
        ) end as total_tokens,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.cost_usd end as cost_usd,
    events.billed_usd as spend,
    events.status,
    events.ending,
    events.duration_ms as latency_ms,
    events.ttft_ms as time_to_first_token_ms,
    events.streaming as stream,
    events.metadata as properties,
    events.started_at as created_at,
    events.started_at,
    events.ended_at
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
-- Once a row, not once a meter.
cross join lateral (select events.usage::jsonb as usage offset 0) as counted;

grant select on farebox.requests to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.requests is 'Events under the names that gateways'' request logs use.';
comment on column farebox.requests.request_id is 'The event.';
comment on column farebox.requests.call_id is 'The call.';
comment on column farebox.requests.tenant_id is 'The tenant.';
comment on column farebox.requests.organization_id is 'The tenant, as other tools name it.';
comment on column farebox.requests.user_id is 'The end customer, as other tools name it.';
comment on column farebox.requests.customer_id is 'The end customer.';
comment on column farebox.requests.session_id is 'A conversation.';
comment on column farebox.requests.api_key_id is 'The virtual key.';
comment on column farebox.requests.provider is 'The vendor.';
comment on column farebox.requests.endpoint is 'The kind of call.';
comment on column farebox.requests.model is 'The model billed, or asked for.';
comment on column farebox.requests.prompt_tokens is 'All input tokens; null: nothing known.';
comment on column farebox.requests.completion_tokens is 'All output tokens.';
comment on column farebox.requests.total_tokens is 'Both.';
comment on column farebox.requests.cost_usd is 'What the provider charges. Tenants see it where the operator does not pay.';
comment on column farebox.requests.spend is 'What the operator charges.';
comment on column farebox.requests.status is 'The upstream''s HTTP status.';
comment on column farebox.requests.ending is 'How the answer ended.';
comment on column farebox.requests.latency_ms is 'To the answer''s last byte.';
comment on column farebox.requests.time_to_first_token_ms is 'To the first generated output.';
comment on column farebox.requests.stream is 'Whether it was a stream.';
comment on column farebox.requests.properties is 'The caller''s labels.';
comment on column farebox.requests.created_at is 'When the call started.';
comment on column farebox.requests.started_at is 'When the call started.';
comment on column farebox.requests.ended_at is 'When it ended.';

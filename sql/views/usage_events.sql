create or replace view farebox.usage_events as
select
    events.event_id,
    events.call_id,
    events.part,
    events.is_final,
    settled.other_event_id as settles,
    events.schema,
    events.tenant_id,
    coalesce(customers.customer_id, events.customer_id) as customer_id,
    events.project,
    events.agent,
    events.revision,
    events.session_id,
    events.run_id,
    events.span_id,
    events.parent_span_id,
    events.section,
    events.metadata,
    events.synthetic,
    events.environment,
    events.attribution,
    events.key_id,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.credential_id end as credential_id,
    events.paid_by,
    events.upstream,
    events.provider,
    events.endpoint,
    events.region,
    events.model_requested,
    events.model,
    events.service_tier,
    events.started_at,
    events.ended_at,
    events.received_at,
    events.period,
    events.day,
    events.is_late,
    events.clock_suspect,
    events.ttfb_ms,
    events.ttft_ms,
    events.duration_ms,
    case when (select farebox_private.sees_all()) then events.overhead_ms end as overhead_ms,
    events.status,
    events.ending,
    events.streaming,
    events.transport,
    events.request_bytes,
    events.response_bytes,
    events.request_amended,
    events.attempt,
    events.client_retry,
    events.sanitised,
    events.lines::jsonb as lines,
    events.usage::jsonb as usage,
    events.usage_source,
    events.usage_reason,
    events.usage_low,
    events.usage_high,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.evidence::jsonb end as evidence,
    farebox_private.charges_of(
        events.charges,
        (select farebox_private.sees_all()) or events.paid_by <> 'operator'
    ) as charges,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.cost_usd end as cost_usd,
    events.billed_usd,
    case when (select farebox_private.sees_all()) then events.claimed_usd end as claimed_usd,
    case when (select farebox_private.sees_all()) then events.price_mismatch end as price_mismatch,
    events.pricing,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then jsonb_build_object(
        'cost', encode(events.cost_card, 'hex'),
        'price', encode(events.price_card, 'hex')
    ) end as rate_cards,
    repeated.other_event_id as repeats,
    events.upstream_request_id,
    events.response_id,
    case when (select farebox_private.sees_all()) then events.node end as node,
    case when (select farebox_private.sees_all()) then events.epoch end as epoch,
    case when (select farebox_private.sees_all()) then events.seq end as seq,
    case when (select farebox_private.sees_all()) then encode(events.content_sha256, 'hex') end as content_sha256,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then (
        -- What was unpriced and never adjusted stays unknown.
        select case
            when count(*) = 0 then events.cost_usd
            else coalesce(events.cost_usd, 0) + sum(adjustments.cost_usd)
        end
        from farebox_private.adjustments
        where adjustments.event_id = events.event_id
            and adjustments.tenant_id is not distinct from events.tenant_id
    ) end as adjusted_cost_usd,
    (
        select case
            when count(*) = 0 then events.billed_usd
            else coalesce(events.billed_usd, 0) + sum(adjustments.billed_usd)
        end
        from farebox_private.adjustments
        where adjustments.event_id = events.event_id
            and adjustments.tenant_id is not distinct from events.tenant_id
    ) as adjusted_billed_usd,
    events.plan
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
left join farebox_private.event_links as settled
    on settled.event_id = events.event_id and settled.relation = 'settles'
left join farebox_private.event_links as repeated
    on repeated.event_id = events.event_id and repeated.relation = 'repeats';

grant select on farebox.usage_events to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.usage_events is 'One row for each attempt of a call, or each part of a socket, as first booked.';
comment on column farebox.usage_events.event_id is 'UUIDv7 made by the proxy; its millisecond is started_at.';
comment on column farebox.usage_events.call_id is 'The event id of the call''s first attempt and part.';
comment on column farebox.usage_events.part is 'Part of a socket, from 1.';
comment on column farebox.usage_events.is_final is 'Whether this is the call''s last part.';
comment on column farebox.usage_events.settles is 'The earlier, pending event whose usage this one tells.';
comment on column farebox.usage_events.schema is 'Version of the record''s shape.';
comment on column farebox.usage_events.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.usage_events.customer_id is 'The tenant''s end customer.';
comment on column farebox.usage_events.project is 'A project of the tenant.';
comment on column farebox.usage_events.agent is 'An agent of the tenant.';
comment on column farebox.usage_events.revision is 'The agent''s revision.';
comment on column farebox.usage_events.session_id is 'A conversation.';
comment on column farebox.usage_events.run_id is 'A run of an agent.';
comment on column farebox.usage_events.span_id is 'A step of the run.';
comment on column farebox.usage_events.parent_span_id is 'The step above it.';
comment on column farebox.usage_events.section is 'A part of the product.';
comment on column farebox.usage_events.metadata is 'The caller''s own flat labels.';
comment on column farebox.usage_events.synthetic is 'Test traffic by the caller''s own word; billed as any call.';
comment on column farebox.usage_events.environment is 'The key''s environment: live or test.';
comment on column farebox.usage_events.attribution is 'Where the tenant came from: key, header, path, query, session, body, none.';
comment on column farebox.usage_events.key_id is 'The virtual key.';
comment on column farebox.usage_events.credential_id is 'The provider credential, by name. Tenants see it where the operator does not pay.';
comment on column farebox.usage_events.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox.usage_events.upstream is 'The configured name.';
comment on column farebox.usage_events.provider is 'The vendor.';
comment on column farebox.usage_events.endpoint is 'The kind of call.';
comment on column farebox.usage_events.region is 'The upstream''s region.';
comment on column farebox.usage_events.model_requested is 'The model asked for.';
comment on column farebox.usage_events.model is 'The model billed.';
comment on column farebox.usage_events.service_tier is 'The tier billed.';
comment on column farebox.usage_events.started_at is 'By the proxy''s clock; decides price and period.';
comment on column farebox.usage_events.ended_at is 'Last byte of the answer; null on an interrupted call.';
comment on column farebox.usage_events.received_at is 'When the collector booked it.';
comment on column farebox.usage_events.period is 'Month it is invoiced in, by its first day.';
comment on column farebox.usage_events.day is 'The day in the tenant''s zone at ingest.';
comment on column farebox.usage_events.is_late is 'Its own month was closed when it came; it is in the first open one.';
comment on column farebox.usage_events.clock_suspect is 'The proxy''s clock and the collector''s differed by more than five minutes.';
comment on column farebox.usage_events.ttfb_ms is 'To the answer''s first byte, in milliseconds.';
comment on column farebox.usage_events.ttft_ms is 'To the first generated output, in milliseconds.';
comment on column farebox.usage_events.duration_ms is 'To the answer''s last byte, in milliseconds.';
comment on column farebox.usage_events.overhead_ms is 'Time that is the proxy''s alone, in milliseconds. Null for tenants.';
comment on column farebox.usage_events.status is 'The upstream''s HTTP status.';
comment on column farebox.usage_events.ending is 'How the answer ended.';
comment on column farebox.usage_events.streaming is 'Whether the answer came as a stream.';
comment on column farebox.usage_events.transport is 'http, sse or websocket.';
comment on column farebox.usage_events.request_bytes is 'Bytes of the body sent upstream.';
comment on column farebox.usage_events.response_bytes is 'Bytes of the body that came back.';
comment on column farebox.usage_events.request_amended is 'Whether the usage option was spliced into the request.';
comment on column farebox.usage_events.attempt is 'The proxy''s attempt, from 1.';
comment on column farebox.usage_events.client_retry is 'The SDK''s own retry count.';
comment on column farebox.usage_events.sanitised is 'Whether a text had to be made to fit.';
comment on column farebox.usage_events.lines is 'What pricing reads: [{model, conditions, usage}].';
comment on column farebox.usage_events.usage is 'The lines'' sum, exact decimals as strings by meter.';
comment on column farebox.usage_events.usage_source is 'How the quantities are known.';
comment on column farebox.usage_events.usage_reason is 'Why they are not reported.';
comment on column farebox.usage_events.usage_low is 'Lower bounds by meter when not reported.';
comment on column farebox.usage_events.usage_high is 'Upper bounds by meter when not reported.';
comment on column farebox.usage_events.evidence is 'What was seen on the wire; numbers and names, never content. Null for tenants where the operator pays.';
comment on column farebox.usage_events.charges is 'Each meter priced: [{model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule}], and billed_quantity where the selling rule has steps of its own. The cost half is null for tenants where the operator pays.';
comment on column farebox.usage_events.cost_usd is 'What the provider charges, whoever pays; null: a rate is missing. Tenants see it where the operator does not pay.';
comment on column farebox.usage_events.billed_usd is 'What the operator charges the tenant; null: unpriced.';
comment on column farebox.usage_events.claimed_usd is 'The proxy''s own figure of billed_usd. Null for tenants.';
comment on column farebox.usage_events.price_mismatch is 'Whether the proxy''s figure differs from the booked one. Null for tenants.';
comment on column farebox.usage_events.pricing is 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';
comment on column farebox.usage_events.rate_cards is 'Revisions it was priced by: {cost, price}. Null for tenants where the operator pays.';
comment on column farebox.usage_events.repeats is 'The event already charged for the same provider id.';
comment on column farebox.usage_events.upstream_request_id is 'The provider''s request id.';
comment on column farebox.usage_events.response_id is 'The id in the answer''s body.';
comment on column farebox.usage_events.node is 'The proxy. Null for tenants.';
comment on column farebox.usage_events.epoch is 'The proxy''s process start. Null for tenants.';
comment on column farebox.usage_events.seq is 'The settlement''s number in the epoch, without gaps. Null for tenants.';
comment on column farebox.usage_events.content_sha256 is 'SHA-256 over the record as spooled, by the proxy. Null for tenants.';
comment on column farebox.usage_events.adjusted_cost_usd is 'cost_usd with all adjustments booked to its tenant, where the viewer sees it; 0 after the event moved to another tenant; null: unpriced and never adjusted.';
comment on column farebox.usage_events.adjusted_billed_usd is 'billed_usd with all adjustments booked to its tenant; 0 after the event moved to another tenant; null: unpriced and never adjusted.';
comment on column farebox.usage_events.plan is 'The tenant''s plan when the call began; selling rules go by it.';
